"""Names of tensors as a wrapper changes them: DistributedDataParallel, torch.compile, Lightning."""

from collections.abc import Iterable

# Prefixes that DistributedDataParallel and DataParallel, torch.compile and Lightning modules add
# to every name.
_PREFIXES = ("module.", "_orig_mod.", "model.")


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """Give each name without prefixes that all names have, and without those of compiled parts."""
    plain = {name: uncompiled_name(name) for name in names}
    for prefix in _PREFIXES:
        if plain and all(name.startswith(prefix) for name in plain.values()):
            shorter = plain_names(name.removeprefix(prefix) for name in plain.values())
            return {name: shorter[rest.removeprefix(prefix)] for name, rest in plain.items()}
    return plain


def uncompiled_name(name: str) -> str:
    """Give a name without what ``torch.compile`` adds to the names of a module it returned."""
    return name.replace("_orig_mod.", "")
