"""A second trace: are sizes read off a tensor, or do they stand in the code?

``x[:, : x.shape[1] // 2]`` and ``x[:, :32]`` leave the same trace of a network with 64 channels,
and different ones of a network with fewer. Therefore the network is traced again without some of
its channels; every value must then have the shape that its labels say.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, fx, nn

from secateur.models.copying import copy_model
from secateur.models.example_inputs import ExampleInputs, map_tensors
from secateur.pruning.graph.flow import Flow, tensors
from secateur.pruning.graph.groups import ChannelGraph, ChannelGroup
from secateur.pruning.graph.labels import compact, varying
from secateur.pruning.graph.operators import BOUNDS
from secateur.pruning.graph.trial_cut import can_be_cut, trial_selection, with_fixed
from secateur.pruning.removal import cut_in_place, remove_filters

Export = Callable[[nn.Module, ExampleInputs], torch.export.ExportedProgram]


def fix_constant_sizes(
    flow: Flow, graph: ChannelGraph, dense: fx.Graph, example_inputs: ExampleInputs, export: Export
) -> ChannelGraph:
    """Fix the groups of which the network would take other channels when some are removed.

    Args:
        flow: the walk that found the groups. Only those are tried for which it assumed that sizes
            are read off a tensor.
        graph: the groups; their cut does not break the network.
        dense: the network's graph.
        example_inputs: the arguments of its forward pass.
        export: made that graph.
    """
    while tried := [group for group in can_be_cut(graph) if _marks(flow, group, flow.assumed)]:
        selection = trial_selection(graph)
        kept = {group.name: selection[group.name] for group in tried}
        slim = _traced(flow.model, graph, kept, example_inputs, export)
        node = None if slim is None else _first_difference(flow, tried, kept, dense, slim)
        if slim is not None and node is None:
            return graph
        reason = "the network cannot be traced without some of these channels"
        blamed = tried
        if node is not None:
            reason = f"{node.name} takes channels by their positions"
            values = [flow.values.get(n) for n in (node, *node.all_input_nodes)]
            labels = [each for value in values for each in tensors(value)]
            blamed = [group for group in tried if _marks(flow, group, labels)] or tried
        graph = with_fixed(graph, {group.name: reason for group in blamed})
    return graph


def _traced(
    model: nn.Module,
    graph: ChannelGraph,
    kept: Mapping[str, Tensor],
    example_inputs: ExampleInputs,
    export: Export,
) -> fx.Graph | None:
    """Trace a network with fewer channels; None if it cannot be traced."""

    def hollow() -> nn.Module:
        empty: dict[int, Tensor] = {}
        for tensor in (*model.parameters(), *model.buffers()):
            value = tensor.detach().to("meta")
            is_parameter = isinstance(tensor, nn.Parameter)
            empty[id(tensor)] = nn.Parameter(value, False) if is_parameter else value
        slim = copy_model(model, empty)
        cut_in_place(slim, graph, kept)
        return slim

    # Without values it takes less time, but tensors that forward itself holds have some.
    for build, inputs in (
        (hollow, map_tensors(lambda x: x.to("meta"), example_inputs)),
        (lambda: remove_filters(model, graph, kept), example_inputs),
    ):
        try:
            graph_module: fx.GraphModule = export(build(), inputs).graph_module
            return graph_module.graph
        except Exception:  # noqa: S112 # a forward pass may raise anything
            continue
    return None


def _first_difference(
    flow: Flow,
    tried: list[ChannelGroup],
    kept: Mapping[str, Tensor],
    dense: fx.Graph,
    slim: fx.Graph,
) -> fx.Node | None:
    """Return the first node whose result has another shape or place than its labels say."""
    lost = torch.zeros(len(flow.roots), dtype=torch.bool)
    for group in tried:
        removed = torch.ones(group.units, dtype=torch.bool)
        removed[group.units_of(kept[group.name])] = False
        for member in group.members:
            labels = flow.labels[member.name, member.dim]
            lost[flow.roots[labels[member.index[removed].flatten()]]] = True

    def left(labels: Tensor, dim: int) -> Tensor:
        """Which positions along a dimension remain."""
        (small,) = compact(labels)
        gone = lost[flow.roots[small]].movedim(dim, 0).flatten(1).all(1)
        return (~gone).expand(labels.shape[dim])

    def differs(wide: fx.Node, narrow: fx.Node) -> bool:
        if wide.target != narrow.target:
            return True
        found = tensors(narrow.meta.get("val"))
        for labels, value in zip(tensors(flow.values.get(wide)), found, strict=False):
            wanted = [int(left(labels, d).sum()) for d in range(labels.dim())]
            if list(value.shape) != wanted:
                return True
        if wide.target in BOUNDS:
            x, dim, (bound, *_) = BOUNDS[wide.target](wide)
            before = flow.values.get(x)
            if isinstance(before, Tensor) and dim in varying(before):
                _, _, (found_bound, *_) = BOUNDS[wide.target](narrow)
                return int(left(before, dim)[:bound].sum()) != found_bound
        return False

    nodes = [[n for n in g.nodes if n.op == "call_function"] for g in (dense, slim)]
    pairs = zip(*nodes, strict=False)
    return next((wide for wide, narrow in pairs if differs(wide, narrow)), None)


def _marks(flow: Flow, group: ChannelGroup, labels: list[Tensor]) -> bool:
    """Say whether some of these labels are of a group's channels."""
    mark = torch.zeros(len(flow.roots), dtype=torch.bool)
    for each in labels:
        mark[flow.roots[compact(each)[0]]] = True
    member = group.members[0]
    return bool(mark[flow.roots[flow.labels[member.name, member.dim][member.index]]].any())
