"""Verification: the slim network gives what the dense one gives with the same channels masked.

It is a check on example inputs. A forward pass may read how many channels there are, to divide by
their number or to branch on it, and then runs with fewer channels but gives something else. A trial
on the dense weights finds that before any training.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from secateur.errors import PruningError, first_line
from secateur.files.arguments import checked
from secateur.models.copying import copy_model
from secateur.models.example_inputs import ExampleInputs, call_arguments, map_tensors
from secateur.models.modes import attributes_restored, evaluating
from secateur.models.raw_parts import raw_parts
from secateur.pruning.absence import Absence
from secateur.pruning.graph.groups import ChannelGraph, ChannelGroup
from secateur.pruning.graph.trial_cut import can_be_cut, search, trial_selection, with_fixed
from secateur.pruning.removal import Selection, check_slim, mask_filters, remove_filters

# The most that rounding may be made responsible for.
_MOST_ROUNDING = 1e-2
# How often rounding is tried.
_ROUNDINGS = 3


class Difference(float):
    """How far two networks' outputs are apart, as a share of the output's largest magnitude.

    Attributes:
        precision: ``double``; or ``own``, that of the network, where it does not run in double.
        allowed: the most that a correct removal can have.
    """

    precision: Literal["double", "own"]
    allowed: float

    def __new__(
        cls, value: float, precision: Literal["double", "own"], allowed: float
    ) -> "Difference":
        """Make the number with its attributes."""
        made = super().__new__(cls, value)
        made.precision, made.allowed = precision, allowed
        return made

    def __getnewargs__(self) -> tuple[Any, ...]:  # copies and pickles are made by these
        return float(self), self.precision, self.allowed


@checked
def verify_removal(
    model: nn.Module,
    slim: nn.Module,
    graph: ChannelGraph,
    selection: Selection,
    example_inputs: ExampleInputs,
    *,
    tolerance: float = 1e-5,
) -> Difference:
    """Check ``slim(x) == masked(x)`` in double precision, in which rounding does not matter.

    Of a detector of torchvision, the raw outputs are compared.

    A network that casts, to half precision or from bytes for example, may not run in double
    precision. It is then compared in its own, and may differ by what rounding can do to it: ten
    times what its outputs change by when every weight is off by its last digit.

    Args:
        model: the network before the removal.
        slim: the network after it.
        graph: the model's channel groups.
        selection: indices of the channels kept in each group.
        example_inputs: what to call both with, of values as in use.
        tolerance: the largest difference allowed.

    Returns:
        The largest difference in any output.

    Raises:
        PruningError: it exceeds the tolerance: the removal is wrong and must not be used; or the
            graph is of another network, or the slim network of another removal.
    """
    check_slim(slim, graph, selection)
    masked = mask_filters(model, graph, selection, absent=True)
    slim, _ = raw_parts(slim, example_inputs)
    masked, example_inputs = raw_parts(masked, example_inputs)
    # A hook that was copied may still write to the model that it was made for.
    with attributes_restored(model), torch.no_grad():
        with _double_precision():
            try:
                inputs = map_tensors(_as_double, example_inputs)
                wanted = _masked_outputs(copy_model(masked).double(), inputs)
                slim, double = copy_model(slim).double(), True
            except Exception:  # a forward pass may raise anything
                wanted, double = None, False
        if wanted is None:
            inputs = example_inputs
            try:
                wanted = _masked_outputs(masked, inputs)
            except Exception as error:
                raise PruningError(
                    f"{type(model).__name__} does not run on the example inputs "
                    f"({first_line(error)}), so no removal can be verified; give inputs that its "
                    "forward pass takes"
                ) from error
            tolerance = max(tolerance, _rounding(masked, inputs, wanted))
        given = _slim_outputs(slim, inputs, double=double)
    if [a.shape for a in wanted] != [b.shape for b in given]:
        raise PruningError(
            "the slim network's outputs have other shapes than the masked one's; please report "
            "this network, it was not cut"
        )
    largest = largest_difference(wanted, given)
    if not largest <= tolerance:  # NaN verifies nothing either
        raise PruningError(
            f"the slim network differs from the masked one by {largest:g} of the output "
            f"(at most {tolerance:g}); please report this network, it was not cut"
        )
    return Difference(largest, "double" if double else "own", tolerance)


def _masked_outputs(masked: nn.Module, inputs: ExampleInputs) -> list[Tensor]:
    args, kwargs = call_arguments(inputs)
    with evaluating(masked), Absence():  # type: ignore[no-untyped-call]
        return _leaves(masked(*args, **kwargs))


def _slim_outputs(slim: nn.Module, inputs: ExampleInputs, *, double: bool) -> list[Tensor]:
    args, kwargs = call_arguments(inputs)
    try:
        with evaluating(slim), _double_precision() if double else nullcontext():
            return _leaves(slim(*args, **kwargs))
    except Exception as error:
        raise PruningError(
            f"the slim network does not run ({first_line(error)}); please report this network, "
            "it was not cut"
        ) from error


def largest_difference(wanted: Sequence[Tensor], given: Sequence[Tensor]) -> float:
    """Return the largest, as a share of its output's largest magnitude; NaN if there is one."""
    largest = 0.0
    for a, b in zip(map(_real, wanted), map(_real, given), strict=True):
        if not a.numel():
            continue
        # Infinities of one sign are no difference, and say nothing of how large outputs are.
        gap = torch.where(a == b, 0.0, (a - b).abs())
        difference = float(gap.max() / a.abs().where(a.isfinite(), 0.0).max().clamp_min(1e-30))
        if not difference <= largest:
            largest = difference
        if difference != difference:  # noqa: PLR0124 # NaN
            return difference
    return largest


def _rounding(masked: nn.Module, inputs: ExampleInputs, wanted: Sequence[Tensor]) -> float:
    """Ten times what outputs change by, at most, when every weight is off by its last digit."""
    generator = torch.Generator().manual_seed(0)
    largest = 0.0
    for _ in range(_ROUNDINGS):
        off = copy_model(masked)
        for tensor in off.parameters():
            if tensor.is_floating_point():
                signs = torch.randint(0, 2, tensor.shape, generator=generator) * 2 - 1
                tensor.mul_(1 + signs.to(tensor) * torch.finfo(tensor.dtype).eps)
        given = _masked_outputs(off, inputs)
        if [a.shape for a in wanted] == [b.shape for b in given]:
            largest = max(largest, largest_difference(wanted, given))
    return min(10 * largest, _MOST_ROUNDING)


def _as_double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def fix_unverified(
    model: nn.Module, graph: ChannelGraph, example_inputs: ExampleInputs
) -> ChannelGraph:
    """Give the graph with those groups fixed whose removal cannot be verified.

    Args:
        model: left as it was, on the CPU.
        graph: the model's channel groups.
        example_inputs: what to call it with, of values as a run would have them.

    Raises:
        PruningError: no removal from this network can be verified: it does not run on these
            inputs, or is not deterministic.
    """
    selection = trial_selection(graph)

    def differs(groups: Sequence[ChannelGroup]) -> str | None:
        kept = {group.name: selection[group.name] for group in groups}
        slim = remove_filters(model, graph, kept)
        try:
            verify_removal(model, slim, graph, kept, example_inputs)
        except PruningError:
            return (
                "the forward pass computes with the number of these channels, or branches on it, "
                "and gives something else with fewer"
            )
        return None

    try:
        verify_removal(model, model, graph, {}, example_inputs)
    except PruningError as error:
        if error.__cause__ is not None:  # it does not run
            raise
        raise PruningError(
            f"{type(model).__name__} gives other outputs each time it is called, or outputs that "
            "are not numbers, so no removal can be verified; make it deterministic in evaluation "
            "mode"
        ) from None
    return with_fixed(graph, search(can_be_cut(graph), differs))


@contextmanager
def _double_precision() -> Iterator[None]:
    """Create tensors in double precision inside forward passes too."""
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
