"""Removal: a smaller dense network, and the dense one with the same channels masked."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from secateur.errors import PruningError
from secateur.files.arguments import checked
from secateur.models.copying import copy_model
from secateur.models.shapes import layer_path, update_counts
from secateur.pruning.graph.groups import ChannelGraph, check_graph, model_tensors

# Indices of the kept channels, ascending, by the group's name; a group that is not named keeps all.
Selection = Mapping[str, Tensor]

_INTEGERS = (torch.int64, torch.int32)


@checked
def remove_filters(model: nn.Module, graph: ChannelGraph, selection: Selection) -> nn.Module:
    """Remove every channel that a selection does not keep.

    Producers lose filters F_i, consumers the slices G_i that read them, and norms, biases and
    scales their entries (paper, section 3, step 3).

    Args:
        model: left as it is; frozen parameters are cut like any other and stay frozen.
        graph: the model's channel groups.
        selection: indices of the channels kept in each group, int64, ascending; a group that is
            not named keeps all.

    Returns:
        A new model of the same class with smaller layers.

    Raises:
        PruningError: a group is fixed, unknown, or would lose all its channels, or indices are
            not ascending, out of range, or only a part of what is removed together.
    """
    check_graph(graph, model_tensors(model))
    kept_by_tensor = kept_positions(graph, selection)
    # Tensors that are cut are never copied whole.
    slim = copy_model(
        model,
        {
            id(_tensor(model, name)): _shrunk(model, graph, name, kept)
            for name, kept in kept_by_tensor.items()
        },
    )
    _recount(slim, graph, selection, kept_by_tensor)
    return slim


def cut_in_place(model: nn.Module, graph: ChannelGraph, selection: Selection) -> None:
    """Remove from the model itself every channel that a selection does not keep.

    Raises:
        PruningError: as for ``remove_filters``.
    """
    kept_by_tensor = kept_positions(graph, selection)
    for name, kept in kept_by_tensor.items():
        owner, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(owner), attribute, _shrunk(model, graph, name, kept))
    _recount(model, graph, selection, kept_by_tensor)


@checked
def mask_filters(
    model: nn.Module, graph: ChannelGraph, selection: Selection, *, absent: bool = False
) -> nn.Module:
    """Zero what would be removed: a new model of the old shapes.

    Filters F_i and their followers become zero, so that the channels are zero where they are
    produced. The slices G_i become zero too, because an activation may map zero to another value.

    Args:
        model: left as it is.
        graph: the model's channel groups.
        selection: as for ``remove_filters``.
        absent: fill groups that have statistics over channels with NaN instead of zero; the model
            must then run within ``Absence``.
    """
    check_graph(graph, model_tensors(model))
    kept_positions(graph, selection)  # refuses what is no selection
    masked = copy_model(model)
    statistics = {name for name in selection if graph.groups[name].statistics}
    # A direction of length zero would be no number; its filter is zero by its length alone.
    kept_rows = {
        (member.name, member.dim)
        for name in selection
        for member in graph.groups[name].of_role("follower")
        if member.name in graph.directions
    }
    for names, value in ((selection.keys() - statistics, 0.0), (statistics, torch.nan)):
        part = {name: selection[name] for name in names}
        for name, kept in kept_positions(graph, part).items():
            if name in graph.permutations:
                continue
            tensor = _tensor(masked, name).detach()
            for dim, positions in kept.items():
                if (name, dim) in kept_rows:
                    continue
                removed = torch.ones(tensor.shape[dim], dtype=torch.bool, device=tensor.device)
                removed[positions.to(tensor.device)] = False
                indices = removed.nonzero().flatten()
                tensor.index_fill_(dim, indices, value if absent else 0.0)
    return masked


def kept_positions(graph: ChannelGraph, selection: Selection) -> dict[str, dict[int, Tensor]]:
    """Return the kept positions of each dimension of each tensor that loses something.

    Raises:
        PruningError: a group is fixed, unknown, or would lose all its channels, or indices are
            not ascending or out of range.
    """
    removed: dict[tuple[str, int], list[Tensor]] = defaultdict(list)
    for name, kept in selection.items():
        group = graph.groups.get(name)
        if group is None:
            raise PruningError(f"{name}: no such channel group")
        if kept.numel() == 0:
            raise PruningError(f"{name} would lose all its filters; keep at least one")
        if kept.dim() != 1 or kept.dtype not in _INTEGERS:
            raise PruningError(
                f"{name}: kept is a tensor of {str(kept.dtype).partition('.')[2]} of shape "
                f"{tuple(kept.shape)}; give the indices of the channels kept, as "
                "mask.nonzero().flatten() does"
            )
        indices = kept.tolist()
        if indices != sorted(set(indices)) or indices[0] < 0 or indices[-1] >= group.channels:
            raise PruningError(
                f"{name}: kept indices must ascend from 0 to {group.channels - 1} at most"
            )
        if len(indices) == group.channels:
            continue
        if group.fixed is not None:
            raise PruningError(f"{name} cannot be pruned: {group.fixed}")
        lost = torch.ones(group.units, dtype=torch.bool)
        lost[group.units_of(kept)] = False
        for member in group.members:
            removed[member.name, member.dim].append(member.index[lost].flatten())
    kept_by_tensor: dict[str, dict[int, Tensor]] = defaultdict(dict)
    for (tensor, dim), positions in removed.items():
        mask = torch.ones(graph.shapes[tensor][dim], dtype=torch.bool)
        mask[torch.cat(positions)] = False
        kept_by_tensor[tensor][dim] = mask.nonzero().flatten()
    return kept_by_tensor


def check_slim(slim: nn.Module, graph: ChannelGraph, selection: Selection) -> None:
    """Check that a network has the shapes that a removal leaves.

    Raises:
        PruningError: a tensor is missing or has another shape.
    """
    tensors = model_tensors(slim)
    for name, kept in kept_positions(graph, selection).items():
        sizes = {dim: len(positions) for dim, positions in kept.items()}
        wanted = tuple(sizes.get(dim, size) for dim, size in enumerate(graph.shapes[name]))
        given = tuple(tensors[name].shape) if name in tensors else None
        if given != wanted:
            raise PruningError(
                f"slim is not what this selection leaves: its {name} is {given or 'missing'} and "
                f"not {wanted}; give what remove_filters returned for it"
            )


def _tensor(model: nn.Module, name: str) -> Tensor:
    owner, _, attribute = name.rpartition(".")
    return cast(Tensor, getattr(model.get_submodule(owner), attribute))


def _shrunk(model: nn.Module, graph: ChannelGraph, name: str, kept: Mapping[int, Tensor]) -> Tensor:
    """A new parameter or buffer with the kept positions of each dimension."""
    tensor = _tensor(model, name)
    small = tensor.detach()
    channels_last = small.dim() == 4 and not small.is_contiguous()
    channels_last &= small.is_contiguous(memory_format=torch.channels_last)
    for dim, positions in kept.items():
        small = small.index_select(dim, positions.to(small.device))
    if channels_last:
        small = small.contiguous(memory_format=torch.channels_last)
    if name in graph.permutations:
        small = small.argsort().argsort().to(small.dtype)
    is_parameter = isinstance(tensor, nn.Parameter)
    return nn.Parameter(small, tensor.requires_grad) if is_parameter else small


def _recount(
    model: nn.Module, graph: ChannelGraph, selection: Selection, kept_by_tensor: Iterable[str]
) -> None:
    """Update the channel counts of layers whose tensors were cut."""
    for name in kept_by_tensor:
        update_counts(model.get_submodule(layer_path(name)))
    for name, indices in selection.items():
        group = graph.groups[name]
        for path, times in group.counts:
            norm = cast(nn.modules.batchnorm._NormBase, model.get_submodule(path))
            norm.num_features -= times * (group.units - len(group.units_of(indices)))
