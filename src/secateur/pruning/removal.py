"""Removal: a smaller dense network, proven equal to the unshrunk one with channels masked."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from secateur.errors import PruningError, first_line
from secateur.models.copying import copy_model
from secateur.models.example_inputs import ExampleInputs, call_arguments, map_tensors
from secateur.models.modes import evaluating
from secateur.models.shapes import update_counts
from secateur.pruning.graph.groups import ChannelGraph, module_path

# The kept channels of each group, by the group's name; a group not named keeps all.
Selection = Mapping[str, Tensor]


def remove_filters(model: nn.Module, graph: ChannelGraph, selection: Selection) -> nn.Module:
    """Take out every channel that a selection does not keep.

    Producers lose filters F_i, consumers the slices G_i that read them, and norms, biases and
    scales their entries (paper, section 3, step 3).

    Args:
        model: left as it is; frozen parameters are cut like any other and stay frozen.
        graph: the model's channel groups.
        selection: kept indices, (channels,) int64, rising.

    Returns:
        A new model of the same class with smaller layers.

    Raises:
        PruningError: a group is fixed, unknown, or would lose all its channels, or indices are
            not rising or out of range.
    """
    stays = kept_positions(graph, selection)
    tensors = ((_tensor(model, name), kept) for name, kept in stays.items())
    # What will be cut is never copied as a whole.
    slim = copy_model(model, {id(tensor): _shrunk(tensor, kept) for tensor, kept in tensors})
    _recount(slim, graph, selection, stays)
    return slim


def cut_in_place(model: nn.Module, graph: ChannelGraph, selection: Selection) -> None:
    """Take out of this very model every channel that a selection does not keep.

    Raises:
        PruningError: as for ``remove_filters``.
    """
    stays = kept_positions(graph, selection)
    for name, kept in stays.items():
        owner, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(owner), attribute, _shrunk(_tensor(model, name), kept))
    _recount(model, graph, selection, stays)


def mask_filters(model: nn.Module, graph: ChannelGraph, selection: Selection) -> nn.Module:
    """Zero in place of removing: a new model of the old shapes.

    The filters F_i go to zero and so do their followers, so that the channels are zero where they
    are made; and so do the slices G_i, so that what an activation makes of zero is not read.
    """
    masked = copy_model(model)
    for name, kept in kept_positions(graph, selection).items():
        tensor = _tensor(masked, name).detach()
        for dim, positions in kept.items():
            gone = torch.ones(tensor.shape[dim], dtype=torch.bool, device=tensor.device)
            gone[positions.to(tensor.device)] = False
            tensor.index_fill_(dim, gone.nonzero().flatten(), 0)
    return masked


def verify_removal(
    model: nn.Module,
    slim: nn.Module,
    graph: ChannelGraph,
    selection: Selection,
    example_inputs: ExampleInputs,
    *,
    tolerance: float = 1e-5,
) -> float:
    """Check ``slim(x) == masked(x)``, in double precision, so that what differs is not rounding.

    Returns:
        The largest difference in any output, as a share of that output's largest magnitude.

    Raises:
        PruningError: it is over the tolerance: the removal is wrong, and nothing may go on.
    """
    masked = mask_filters(model, graph, selection).double()
    slim = copy_model(slim).double()
    args, kwargs = call_arguments(
        map_tensors(lambda x: x.double() if x.is_floating_point() else x, example_inputs)
    )
    with _double_precision(), torch.no_grad(), evaluating(masked), evaluating(slim):
        try:
            wanted = _leaves(masked(*args, **kwargs))
        except Exception as error:  # a forward pass may raise anything
            raise PruningError(
                f"{type(model).__name__} does not run in double precision ({first_line(error)}), "
                "so the "
                "removal cannot be proven; let its forward pass follow the inputs' dtype"
            ) from error
        try:
            given = _leaves(slim(*args, **kwargs))
        except Exception as error:
            raise PruningError(
                f"the slim network does not run ({first_line(error)}); please report this network, "
                "it was not cut"
            ) from error
    if [a.shape for a in wanted] != [b.shape for b in given]:
        raise PruningError(
            "the slim network's outputs have other shapes than the masked one's; please report "
            "this network, it was not cut"
        )
    largest = 0.0
    for a, b in zip(map(_real, wanted), map(_real, given), strict=True):
        if not a.numel():
            continue
        # Infinities of one sign are no difference, nor do they tell how large outputs are.
        gap = torch.where(a == b, 0.0, (a - b).abs())
        difference = float(gap.max() / a.abs().where(a.isfinite(), 0.0).max().clamp_min(1e-30))
        if not difference <= tolerance:  # not a number is no proof either
            raise PruningError(
                f"the slim network differs from the masked one by {difference:g} of the output "
                f"(at most {tolerance:g}); please report this network, it was not cut"
            )
        largest = max(largest, difference)
    return largest


def kept_positions(graph: ChannelGraph, selection: Selection) -> dict[str, dict[int, Tensor]]:
    """Give what stays of each dimension of each tensor that loses something.

    Raises:
        PruningError: a group is fixed, unknown, or would lose all its channels, or indices are
            not rising or out of range.
    """
    gone: dict[tuple[str, int], list[Tensor]] = defaultdict(list)
    for name, kept in selection.items():
        group = graph.groups.get(name)
        if group is None:
            raise PruningError(f"{name}: no such channel group")
        if len(kept) == 0:
            raise PruningError(f"{name} would lose all its filters; keep at least one")
        indices = kept.tolist()
        if indices != sorted(set(indices)) or indices[0] < 0 or indices[-1] >= group.channels:
            raise PruningError(
                f"{name}: kept indices must rise from 0 to {group.channels - 1} at most"
            )
        if len(indices) == group.channels:
            continue
        if group.fixed is not None:
            raise PruningError(f"{name} cannot be pruned: {group.fixed}")
        lost = torch.ones(group.channels, dtype=torch.bool)
        lost[indices] = False
        for member in group.members:
            gone[member.name, member.dim].append(member.index[lost].flatten())
    stays: dict[str, dict[int, Tensor]] = defaultdict(dict)
    for (tensor, dim), positions in gone.items():
        mask = torch.ones(graph.shapes[tensor][dim], dtype=torch.bool)
        mask[torch.cat(positions)] = False
        stays[tensor][dim] = mask.nonzero().flatten()
    return stays


def _tensor(model: nn.Module, name: str) -> Tensor:
    owner, _, attribute = name.rpartition(".")
    return cast(Tensor, getattr(model.get_submodule(owner), attribute))


def _shrunk(tensor: Tensor, kept: Mapping[int, Tensor]) -> Tensor:
    """A new parameter or buffer with the positions of each dimension that stay."""
    small = tensor.detach()
    channels_last = small.dim() == 4 and not small.is_contiguous()
    channels_last &= small.is_contiguous(memory_format=torch.channels_last)
    for dim, positions in kept.items():
        small = small.index_select(dim, positions.to(small.device))
    if channels_last:
        small = small.contiguous(memory_format=torch.channels_last)
    is_parameter = isinstance(tensor, nn.Parameter)
    return nn.Parameter(small, tensor.requires_grad) if is_parameter else small


def _recount(
    model: nn.Module, graph: ChannelGraph, selection: Selection, stays: Iterable[str]
) -> None:
    """Make the counts of layers whose tensors were cut agree with them."""
    for name in stays:
        update_counts(model.get_submodule(module_path(name)))
    for name, indices in selection.items():
        group = graph.groups[name]
        for path, times in group.counts:
            norm = cast(nn.modules.batchnorm._NormBase, model.get_submodule(path))
            norm.num_features -= times * (group.channels - len(indices))


@contextmanager
def _double_precision() -> Iterator[None]:
    """Let what a forward pass makes itself, such as zeros, be of double precision too."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(usual)


def _real(output: Tensor) -> Tensor:
    return (torch.view_as_real(output) if output.is_complex() else output).double()


def _leaves(outputs: Any) -> list[Tensor]:
    leaves, _ = torch.utils._pytree.tree_flatten(outputs)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]
