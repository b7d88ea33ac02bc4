"""What a layer computes, as rows of a linear map: inputs of one output position, and its outputs.

A convolution is a linear map of patches. A linear layer is a convolution over its other dimensions
with a kernel of one cell, and a transposed convolution is one over its input with zeros between the
values, with the kernel flipped.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

Layer = _ConvNd | nn.Linear


def groups_of(layer: Layer) -> int:
    """The number of groups of channels that share no weights."""
    return 1 if isinstance(layer, nn.Linear) else layer.groups


def output_channels(layer: Layer) -> int:
    """The number of channels of the layer's output."""
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def as_matrix(layer: Layer) -> Tensor:
    """The weights as (G, D, O): D inputs and O outputs in each of G groups."""
    weight, groups = layer.weight.detach(), groups_of(layer)
    if isinstance(layer, _ConvTransposeNd):
        weight = _swapped(weight, groups).flip(*range(2, weight.dim()))
    return weight.reshape(groups, weight.shape[0] // groups, -1).mT


def set_matrix(layer: Layer, matrix: Tensor) -> None:
    """Invert ``as_matrix``, in place."""
    weight, groups = layer.weight.detach(), groups_of(layer)
    if isinstance(layer, _ConvTransposeNd):
        shape = _swapped(weight, groups).shape
        changed = _swapped(matrix.mT.reshape(shape), groups).flip(*range(2, weight.dim()))
    else:
        changed = matrix.mT.reshape(weight.shape)
    weight.copy_(changed)


def _swapped(weight: Tensor, groups: int) -> Tensor:
    """(A, B / G, …) as (B, A / G, …): input and output channels of a transposed convolution."""
    blocks = weight.reshape(groups, -1, *weight.shape[1:])
    return blocks.transpose(1, 2).flatten(0, 1)


def output_sizes(layer: Layer, output: Tensor) -> torch.Size:
    """The sizes of the output's dimensions other than batch and channels; at least one."""
    return channels_first(layer, output).shape[2:]


def output_rows(layer: Layer, output: Tensor, positions: Tensor) -> Tensor:
    """The outputs at some positions, (B × P, C).

    Args:
        layer: gives the output.
        output: (B, C, …), or (B, …, C) of a linear layer.
        positions: indices of output positions, the same in all B, (P,).
    """
    flat = channels_first(layer, output).flatten(2)
    return flat[:, :, positions].movedim(1, 2).flatten(0, 1)


def in_groups(rows: Tensor, groups: int) -> Tensor:
    """Rows (N, C) by the groups of their channels, (G, N, C / G)."""
    return rows.reshape(len(rows), groups, -1).movedim(1, 0)


def input_rows(layer: Layer, given: Tensor, sizes: torch.Size, positions: Tensor) -> Tensor:
    """The inputs that the outputs at some positions depend on, (G, N, D).

    Args:
        layer: in whose order of inputs ``as_matrix`` is.
        given: its input.
        sizes: as ``output_sizes`` gives them.
        positions: as for ``output_rows``.
    """
    given = channels_first(layer, given)
    if isinstance(layer, nn.Linear):
        return given.flatten(2)[:, :, positions].movedim(1, 2).flatten(0, 1)[None]
    values, stride = _padded(layer, given, sizes)
    index = torch.zeros(len(positions), 1, dtype=torch.int64, device=given.device)
    for dim, cell in enumerate(torch.unravel_index(positions, sizes)):
        taps = torch.arange(layer.kernel_size[dim], device=given.device) * layer.dilation[dim]
        along = cell[:, None] * stride[dim] + taps  # (P, kernel)
        index = index[:, :, None] * values.shape[2 + dim] + along[:, None]
        index = index.flatten(1)
    patches = values.flatten(2)[:, :, index]  # (B, C, P, kernel cells)
    rows = patches.movedim(1, 2).flatten(0, 1)  # (B × P, C, kernel cells)
    return in_groups(rows.flatten(1), layer.groups)


def channels_first(layer: Layer, value: Tensor) -> Tensor:
    """(B, C, …) with at least one dimension after the channels."""
    if isinstance(layer, nn.Linear):
        value = value.movedim(-1, 1) if value.dim() > 1 else value[None]
        return value if value.dim() > 2 else value[..., None]
    return value if value.dim() == layer.weight.dim() else value[None]


def _padded(layer: _ConvNd, given: Tensor, sizes: torch.Size) -> tuple[Tensor, tuple[int, ...]]:
    """The values that patches are taken from, and the stride of patches in them."""
    if not isinstance(layer, _ConvTransposeNd):
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        border = layer._reversed_padding_repeated_twice
        return functional.pad(given, border, mode=mode), layer.stride
    spread = given.new_zeros(
        *given.shape[:2],
        *((n - 1) * step + 1 for n, step in zip(given.shape[2:], layer.stride, strict=True)),
    )
    cells = tuple(slice(None, None, step) for step in layer.stride)
    spread[(slice(None), slice(None), *cells)] = given
    border = []
    for dim in reversed(range(len(sizes))):
        reach = layer.dilation[dim] * (layer.kernel_size[dim] - 1)
        start = reach - cast(tuple[int, ...], layer.padding)[dim]
        border += [start, sizes[dim] + reach - spread.shape[2 + dim] - start]
    return functional.pad(spread, border), (1,) * len(sizes)
