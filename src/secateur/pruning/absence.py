"""Networks in which removed channels are absent: NaN marks them, and statistics omit them.

A layer norm, or a mean over channels, depends on how many channels there are. With some channels
removed it equals the statistic over the others, not the one in which these channels are zero.
``Absence`` runs a network of full size in that sense: a channel that holds NaN adds nothing to what
reads it, is omitted from statistics, and remains NaN.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torchvision.ops  # noqa: F401 # registers its operators
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten


class Absence(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within this context, operators treat NaN as absent.

    Only what reads or reduces several channels needs a rule: everything else keeps NaN where it is.
    An operator without a rule spreads NaN to the outputs, which then verify nothing.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        rule = _RULES.get(func)
        given = [x for x in tree_leaves(args) if isinstance(x, Tensor)]
        if rule is None or not any(x.is_floating_point() and x.isnan().any() for x in given):
            return func(*args, **kwargs)
        schema = func._schema.arguments
        usual = {a.name: a.default_value for a in schema if a.has_default_value()}
        by_position = {a.name: value for a, value in zip(schema, args, strict=False)}
        return rule(func, usual | by_position | kwargs)


def _zeroed(x: Tensor) -> Tensor:
    return x.masked_fill(x.isnan(), 0)


def _moments(x: Tensor, dims: list[int], correction: float = 0) -> tuple[Tensor, Tensor]:
    """Mean and variance of what is there; NaN where nothing is."""
    count = (~x.isnan()).sum(dims, keepdim=True)
    mean = _zeroed(x).sum(dims, keepdim=True) / count
    return mean, _zeroed((x - mean).square()).sum(dims, keepdim=True) / (count - correction)


def _standardised(x: Tensor, dims: list[int], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    mean, variance = _moments(x, dims)
    scale = (variance + eps).rsqrt()
    return (x - mean) * scale, mean, scale


def _dims(given: dict[str, Any]) -> list[int]:
    dims = given.get("dim")  # the overload for all dimensions has none
    return [dims] if isinstance(dims, int) else list(dims or range(given["self"].dim()))


def _reduce_with(neutral: float) -> Callable[[Any, dict[str, Any]], Any]:
    """A reduction that a neutral value does not change."""

    def rule(func: Any, given: dict[str, Any]) -> Any:
        x = given["self"]
        nothing = x.isnan().all(_dims(given), keepdim=given.get("keepdim", False))
        result = func(**{**given, "self": x.masked_fill(x.isnan(), neutral)})
        if isinstance(result, Tensor):
            return result.masked_fill(nothing, torch.nan)
        return result[0].masked_fill(nothing, torch.nan), result[1]

    return rule


def _take_moments(func: Any, given: dict[str, Any]) -> Any:
    x, dims = given["self"], _dims(given)
    correction = given.get("correction")  # a mean has none
    mean, variance = _moments(x, dims, 1 if correction is None else correction)
    moments = [mean, variance, variance.sqrt()]
    if not given.get("keepdim", False):
        moments = [moment.squeeze(dims) for moment in moments]
    mean, variance, deviation = moments
    if func == aten.var_mean.correction:
        return variance, mean
    if func == aten.std.correction:
        return deviation
    return variance if func == aten.var.correction else mean


def _normalise_within(_: Any, given: dict[str, Any]) -> Any:
    """Layer norm over the last dimensions."""
    x, weight, bias = given["input"], given["weight"], given["bias"]
    dims = list(range(x.dim() - len(given["normalized_shape"]), x.dim()))
    result, *rest = _standardised(x, dims, given["eps"])
    return _affine(result, weight, bias), *rest


def _normalise_groups(_: Any, given: dict[str, Any]) -> Any:
    """Group norm, (N, C, ...)."""
    x, groups = given["input"], given["group"]
    result, *rest = _standardised(x.reshape(len(x), groups, -1), [2], given["eps"])
    entries = [
        None if e is None else e.view(-1, *(1,) * (x.dim() - 2))
        for e in (given["weight"], given["bias"])
    ]
    return _affine(result.view(x.shape), *entries), *rest


def _normalise_batch(func: Any, given: dict[str, Any]) -> Any:
    """Batch norm by the statistics of its input; also instance norm, and standardised weights."""
    x = given["input"]
    if not given["training"]:
        return func(**given)
    dims = [d for d in range(x.dim()) if d != 1]
    result, *rest = _standardised(x, dims, given["eps"])
    entries = [
        None if e is None else e.view(-1, *(1,) * (x.dim() - 2))
        for e in (given["weight"], given["bias"])
    ]
    return _affine(result, *entries), *rest


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _convolve(func: Any, given: dict[str, Any]) -> Any:
    """An absent filter makes an absent channel; an absent channel adds nothing."""
    weight = given["weight"]
    result = func(**{**given, "input": _zeroed(given["input"]), "weight": _zeroed(weight)})
    rows = weight.transpose(0, 1) if given.get("transposed") else weight
    absent = rows.isnan().flatten(1).all(1).repeat(result.shape[1] // len(rows))
    return result.masked_fill(absent.view(-1, *(1,) * (weight.dim() - 2)), torch.nan)


def _multiply(func: Any, given: dict[str, Any]) -> Any:
    """Matrix products: absent rows of the first and columns of the second are absent."""
    operands = ("self", "mat1", "batch1", "mat2", "batch2", "vec", "tensor", "other")
    first, second = [name for name in given if name in operands][-2:]
    a, b = given[first], given[second]
    result = func(**{**given, first: _zeroed(a), second: _zeroed(b)})
    if a.dim() > 1:
        rows = a.isnan().all(-1)
        result = result.masked_fill(rows.unsqueeze(-1) if b.dim() > 1 else rows, torch.nan)
    if b.dim() > 1:
        result = result.masked_fill(b.isnan().all(-2, keepdim=True), torch.nan)
    return result


def _normalise_weight(_: Any, given: dict[str, Any]) -> Any:
    """Weight norm: an absent slice has no part in the length of a filter."""
    v, g = given["v"], given["g"]
    dims = [d for d in range(v.dim()) if d != given["dim"] % v.dim()]
    length = _zeroed(v).square().sum(dims, keepdim=True).sqrt()
    return v * (g / length), length


_RULES: dict[Any, Callable[[Any, dict[str, Any]], Any]] = {
    aten.convolution.default: _convolve,
    torch.ops.torchvision.deform_conv2d.default: _convolve,
    aten._weight_norm_interface.default: _normalise_weight,
    aten.native_layer_norm.default: _normalise_within,
    aten.native_group_norm.default: _normalise_groups,
    aten.native_batch_norm.default: _normalise_batch,
    **dict.fromkeys(
        (aten.mean.default, aten.mean.dim, aten.var.correction, aten.std.correction,
         aten.var_mean.correction), _take_moments,
    ),
    **dict.fromkeys(
        (aten.sum.default, aten.sum.dim_IntList, aten.linalg_vector_norm.default), _reduce_with(0),
    ),
    **dict.fromkeys((aten.amax.default, aten.max.dim, aten.max.default), _reduce_with(-math.inf)),
    **dict.fromkeys((aten.amin.default, aten.min.dim, aten.min.default), _reduce_with(math.inf)),
    **dict.fromkeys(
        (aten.mm.default, aten.addmm.default, aten.bmm.default, aten.baddbmm.default,
         aten.mv.default, aten.dot.default, aten.vdot.default), _multiply,
    ),
}  # fmt: skip
