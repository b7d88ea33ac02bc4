"""Verification: the slim network gives what the dense one gives with the same channels masked.

It is a check on example inputs. A forward pass may read how many channels there are, to divide by
their number or to branch on it, and then runs with fewer channels but gives something else. A trial
on the dense weights finds that before any training.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from secateur.errors import PruningError, first_line
from secateur.models.copying import copy_model
from secateur.models.example_inputs import ExampleInputs, call_arguments, map_tensors
from secateur.models.modes import attributes_restored, evaluating
from secateur.models.raw_parts import raw_parts
from secateur.pruning.absence import Absence
from secateur.pruning.graph.groups import ChannelGraph, ChannelGroup
from secateur.pruning.graph.trial_cut import can_be_cut, search, trial_selection, with_fixed
from secateur.pruning.removal import Selection, mask_filters, remove_filters


def verify_removal(
    model: nn.Module,
    slim: nn.Module,
    graph: ChannelGraph,
    selection: Selection,
    example_inputs: ExampleInputs,
    *,
    tolerance: float = 1e-5,
) -> float:
    """Check ``slim(x) == masked(x)`` in double precision, in which rounding does not matter.

    Of a detector of torchvision, the raw outputs are compared.

    Returns:
        The largest difference in any output, as a share of that output's largest magnitude.

    Raises:
        PruningError: it exceeds the tolerance: the removal is wrong and must not be used.
    """
    masked = mask_filters(model, graph, selection, absent=True).double()
    slim = copy_model(slim).double()
    inputs = map_tensors(lambda x: x.double() if x.is_floating_point() else x, example_inputs)
    slim, _ = raw_parts(slim, inputs)
    masked, inputs = raw_parts(masked, inputs)
    args, kwargs = call_arguments(inputs)
    # A hook that was copied may still write to the model that it was made for.
    untouched = attributes_restored(model)
    with untouched, _double_precision(), torch.no_grad(), evaluating(masked), evaluating(slim):
        try:
            with Absence():  # type: ignore[no-untyped-call]
                wanted = _leaves(masked(*args, **kwargs))
        except Exception as error:  # a forward pass may raise anything
            raise PruningError(
                f"{type(model).__name__} does not run in double precision ({first_line(error)}), "
                "so no removal can be verified; let its forward pass follow the inputs' dtype"
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
        # Infinities of one sign are no difference, and say nothing of how large outputs are.
        gap = torch.where(a == b, 0.0, (a - b).abs())
        difference = float(gap.max() / a.abs().where(a.isfinite(), 0.0).max().clamp_min(1e-30))
        if not difference <= tolerance:  # NaN verifies nothing either
            raise PruningError(
                f"the slim network differs from the masked one by {difference:g} of the output "
                f"(at most {tolerance:g}); please report this network, it was not cut"
            )
        largest = max(largest, difference)
    return largest


def fix_unverified(
    model: nn.Module, graph: ChannelGraph, example_inputs: ExampleInputs
) -> ChannelGraph:
    """Give the graph with those groups fixed whose removal cannot be verified.

    Args:
        model: left as it was, on the CPU.
        graph: the model's channel groups.
        example_inputs: what to call it with, of values as a run would have them.

    Raises:
        PruningError: no removal from this network can be verified: it does not run in double
            precision, or is not deterministic.
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
