"""Secateur makes SSD object detectors and other convolutional networks small, by filter pruning.

The names below are public. They are imported when first used, so that ``import secateur`` and
the command line's help do not wait for torch.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secateur.errors import SecateurError
    from secateur.models.network_file import load_network, save_network
    from secateur.pipeline import compress
    from secateur.pruning.graph import channel_groups
    from secateur.pruning.removal import mask_filters, prove_removal, remove_filters
    from secateur.pruning.selection import select_by_budget, select_by_sparsity
    from secateur.pruning.sparsity import GroupProximal, L1Proximal, L1Subgradient
    from secateur.pruning.threshold import search_threshold
    from secateur.recipe import load_recipe

_HOMES = {
    "GroupProximal": "pruning.sparsity",
    "L1Proximal": "pruning.sparsity",
    "L1Subgradient": "pruning.sparsity",
    "SecateurError": "errors",
    "channel_groups": "pruning.graph",
    "compress": "pipeline",
    "load_network": "models.network_file",
    "load_recipe": "recipe",
    "mask_filters": "pruning.removal",
    "prove_removal": "pruning.removal",
    "remove_filters": "pruning.removal",
    "save_network": "models.network_file",
    "search_threshold": "pruning.threshold",
    "select_by_budget": "pruning.selection",
    "select_by_sparsity": "pruning.selection",
}

__all__ = [
    "GroupProximal",
    "L1Proximal",
    "L1Subgradient",
    "SecateurError",
    "channel_groups",
    "compress",
    "load_network",
    "load_recipe",
    "mask_filters",
    "prove_removal",
    "remove_filters",
    "save_network",
    "search_threshold",
    "select_by_budget",
    "select_by_sparsity",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("secateur")
    if name in _HOMES:
        return getattr(import_module(f"secateur.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'secateur' has no attribute {name!r}")
