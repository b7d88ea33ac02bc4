"""A trial proof: does the network with fewer channels give what the masked one gives?

A forward pass may read how many channels there are, to divide by their number or to choose its way
by it, and then runs with fewer, but gives something else. The proof of a removal finds that out;
made before the training, on the dense weights, it costs no training.
"""

from collections.abc import Sequence

from torch import nn

from secateur.errors import PruningError
from secateur.models.example_inputs import ExampleInputs
from secateur.pruning.graph.groups import ChannelGraph, ChannelGroup
from secateur.pruning.graph.trial_cut import can_be_cut, search, trial_selection, with_fixed
from secateur.pruning.removal import remove_filters, verify_removal


def fix_unverified(
    model: nn.Module, graph: ChannelGraph, example_inputs: ExampleInputs
) -> ChannelGraph:
    """Give the graph with those groups fixed whose removal cannot be proved.

    Args:
        model: left as it was, on the CPU.
        graph: the model's channel groups.
        example_inputs: what to call it with, of values as a run would have them.

    Raises:
        PruningError: no removal from this network could be proved: it does not run in double
            precision, or gives something else each time.
    """
    left = trial_selection(graph)

    def differs(groups: Sequence[ChannelGroup]) -> str | None:
        selection = {group.name: left[group.name] for group in groups}
        slim = remove_filters(model, graph, selection)
        try:
            verify_removal(model, slim, graph, selection, example_inputs)
        except PruningError:
            return (
                "the forward pass computes with the number of these channels, or goes by it, and "
                "gives something else when some are gone"
            )
        return None

    try:
        verify_removal(model, model, graph, {}, example_inputs)
    except PruningError as error:
        if error.__cause__ is not None:  # it does not run
            raise
        raise PruningError(
            f"{type(model).__name__} gives other outputs each time it is called, or outputs that "
            "are no numbers, so that no removal from it can be proved; let evaluation mode switch "
            "off what is left to chance"
        ) from None
    return with_fixed(graph, search(can_be_cut(graph), differs))
