"""Label flow: one walk over a traced network that finds which channels belong together.

Every parameter has a label for each index of each dimension; every activation, labels of its own
shape. A convolution unites its input's labels with those of its weight's dimension 1 and returns
those of dimension 0. Element-wise operators unite the labels of their operands. Operators that
only move values (view, permute, cat, …) run on the labels themselves and need no rules of their
own. An operator that mixes channels in an unknown way fixes them, and the reason names it.
"""

import math
import operator
from collections import Counter
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from secateur.pruning.graph.computed import Computed, axes_of, compute, rule_of
from secateur.pruning.graph.data_sizes import BY_DATA
from secateur.pruning.graph.groups import (
    ChannelGraph,
    ChannelGroup,
    Member,
    Role,
    layer_name,
    module_path,
)
from secateur.pruning.graph.labels import (
    NONE,
    Forest,
    along,
    compact,
    sequence,
    squeeze_out,
    varying,
)
from secateur.pruning.graph.nodes import argument
from secateur.pruning.graph.operators import (
    AT_POSITIONS,
    BOUNDS,
    ELEMENTWISE,
    MOVING,
    ONE_INDEX,
    RULES,
    UNFLATTEN,
    UNIFORM,
    VIEWS,
    stays_zero,
)

# A parameter or buffer and one of its dimensions.
Key = tuple[str, int]


class Flow:
    """The state of a walk over the exported graphs of one network.

    Attributes:
        layers: how many calls of convolutions and linear layers the graph has.
        counting: whether MACs are counted: those of the evaluation mode alone.
        zero: nodes whose value is zero for every channel that is masked where it is produced.
        spread: dimensions along which an ``expand`` made copies.
        outputs: labels of the channels that each weight produces, in the layer's order.
        grouped: the weight of each grouped convolution, and its dimension of input channels.
        omitting: labels of the channels that each statistic over channels reads.
        assumed: labels of channels that are right only if sizes are read off a tensor.
        roots: what each label's set of channels is called, once all graphs are walked.
        lazy: nodes that are computed from parameters alone; ``computed`` follows their channels.
        permutations: buffers that name channels by their positions.
        directions: weights whose length does not matter, because a weight norm sets it.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.forest = Forest()
        self.labels: dict[Key, Tensor] = {}
        self.roles: dict[Key, Role] = {}
        self.counts: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}
        self.positions: dict[str, int] = {}
        self.layers = 0
        self.counting = True
        self.tensors: dict[str, Tensor] = {}
        self.uncut: dict[str, str] = {}
        self.zero: set[fx.Node] = set()
        self.grouped: set[Key] = set()
        self.omitting: list[Tensor] = []
        self.assumed: list[Tensor] = []
        self.roots = torch.empty(0, dtype=torch.int64)
        self.lazy: dict[fx.Node, Computed | None] = {}
        self.pending: dict[Key, Tensor] = {}
        self.directions: set[str] = set()
        self.permutations: set[str] = set()
        self.spread: dict[fx.Node, set[int]] = {}
        self.sources: dict[fx.Node, str] = {}
        self.values: dict[fx.Node, Any] = {}

    # ---- the walk --------------------------------------------------------------------------

    def run(self, *programs: torch.export.ExportedProgram) -> ChannelGraph:
        """Walk the network's graphs, that of its evaluation mode first, and return its groups."""
        for program in programs:
            self.walk_program(program)
            self.counting = False
        self.fix_what_is_shared()
        if self.part_views(self.forest.solve()):
            self.roots = self.forest.solve()
        self.fix_what_is_mixed(self.roots)
        return self.graph(self.roots)

    def walk_program(self, program: torch.export.ExportedProgram) -> None:
        """Walk one graph."""
        signature = program.graph_signature
        constants = signature.inputs_to_lifted_tensor_constants
        names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers, **constants}
        state = {**program.constants, **program.state_dict}
        for node in program.graph.find_nodes(op="placeholder"):
            if (name := names.get(node.name)) is not None:
                self.source(node, name, state[name])
                if node.name in constants:
                    self.uncut[name] = f"{name} is a constant of the forward pass"
                elif name in signature.non_persistent_buffers:
                    self.uncut[name] = f"{name} is a buffer that no file of the network holds"
            elif isinstance(node.meta.get("val"), Tensor):
                self.values[node] = self.foreign(node, f"the network's input {node.name}")
        for labels in tensors(self.walk(program.graph_module)):
            self.forest.fix(labels, "the network's output")

    def source(self, node: fx.Node, name: str, tensor: Tensor) -> None:
        """Register a parameter or buffer; a module under two paths has one set of tensors."""
        for known, other in self.tensors.items():
            if other is tensor and self.owner(known) is self.owner(name) is not None:
                name = known
        self.sources[node] = name
        self.tensors[name] = tensor

    def owner(self, name: str) -> nn.Module | None:
        """Return the module that holds a tensor; None for constants."""
        try:
            return self.model.get_submodule(module_path(name))
        except AttributeError:
            return None

    def walk(self, module: fx.GraphModule) -> Any:
        """Walk a graph whose placeholders are known, and return the labels of its outputs."""
        result = None
        for node in module.graph.nodes:
            if node.op == "call_function":
                self.values[node] = self.step(node)
            elif node.op == "get_attr":
                value = getattr(module, node.target)
                self.values[node] = value
                if isinstance(value, Tensor):
                    reason = f"{node.target} is a constant of the forward pass"
                    self.values[node] = self.foreign(node, reason, value)
            elif node.op == "output":
                result = [self.read(each) for each in node.all_input_nodes]
        return result

    def step(self, node: fx.Node) -> Any:
        """Return the labels of an operator's result."""
        target = cast(Any, node.target)
        if node.meta.get(BY_DATA):
            return self.unknown(node, f"the size of {node.name} depends on data")
        if target in UNIFORM:
            return torch.tensor(NONE).expand(node.meta["val"].shape)
        if isinstance(target, torch._ops.HigherOrderOperator):
            return self.region(node)
        if self.is_lazy(node):
            self.lazy[node] = value = compute(self, node)
            shape = value.shape if value is not None else node.meta["val"].shape
            self.note_copies(node, shape)
            return None
        if stays_zero(self, node):
            self.zero.add(node)
        elif isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable:
            self.zero.clear()  # any value may be another view of what was written to
        if not any(self.is_known(n) for n in node.all_input_nodes):
            return self.foreign(node, f"{node.name} has values that belong to no channel")
        rule = RULES.get(target)
        if rule is not None:
            return rule(self, node)
        if target in MOVING or target is operator.getitem:
            return self.move(node)
        tags = target.tags if isinstance(target, torch._ops.OpOverload) else ()
        if torch.Tag.pointwise in tags or target in ELEMENTWISE:
            return self.pointwise(node)
        return self.unknown(node, f"the operator {target} is not known to keep channels apart")

    def region(self, node: fx.Node) -> Any:
        """Walk a subgraph that switches gradients or autocast on or off."""
        name = node.target.name() if hasattr(node.target, "name") else str(node.target)
        known = [self.values.get(n) for n in node.all_input_nodes]
        body = next((value for value in known if isinstance(value, fx.GraphModule)), None)
        if body is None or name not in ("wrap_with_set_grad_enabled", "wrap_with_autocast"):
            return self.unknown(node, f"the operator {name} is not known to keep channels apart")
        inputs = [n for n in node.args if isinstance(n, fx.Node) and self.values.get(n) is not body]
        for placeholder, each in zip(body.graph.find_nodes(op="placeholder"), inputs, strict=True):
            if each in self.sources:
                self.sources[placeholder] = self.sources[each]
            self.values[placeholder] = self.values.get(each)
        return self.walk(body)

    def read(self, node: fx.Node, dim: int | None = None) -> Any:
        """Labels of a node's value; of a parameter, those of the dimension that it spans.

        Args:
            node: what is read.
            dim: of a parameter that spans several dimensions, the one that holds channels.
        """
        if node in self.lazy:
            return self.read_computed(node, dim)
        if node not in self.sources:
            return self.values.get(node)
        name = self.sources[node]
        tensor = self.tensors[name]
        long = [d for d, size in enumerate(tensor.shape) if size > 1]
        if not long:
            return torch.tensor(NONE).expand(tensor.shape)
        if dim is None:
            dim = long[0]
            for other in long[1:]:
                reason = f"{name} spans several dimensions"
                self.forest.fix(self.dimension(name, dim, "follower"), reason)
                self.forest.fix(self.dimension(name, other, "follower"), reason)
        return along(self.dimension(name, dim, "follower"), dim, tensor.shape)

    def dimension(self, name: str, dim: int, role: Role) -> Tensor:
        """Labels along one dimension of a parameter, (size,)."""
        key = (name, dim)
        self.labels[key] = self.entries(key)
        self.pending.pop(key, None)
        if role != "follower" or key not in self.roles:
            self.roles[key] = role
        return self.labels[key]

    def entries(self, key: Key) -> Tensor:
        """Labels along one dimension of a parameter that may yet turn out to hold no channels."""
        if key in self.labels:
            return self.labels[key]
        name, dim = key
        if key not in self.pending:
            self.pending[key] = self.forest.fresh(self.tensors[name].shape[dim])
        return self.pending[key]

    def is_known(self, node: fx.Node) -> bool:
        """Say whether a node is a parameter, computed from some, or has labels."""
        return node in self.sources or node in self.lazy or bool(tensors(self.values.get(node)))

    def is_lazy(self, node: fx.Node) -> bool:
        """Say whether a node is computed from parameters alone."""
        inputs = node.all_input_nodes
        static = bool(inputs) and all(n in self.sources or n in self.lazy for n in inputs)
        return static and rule_of(node) is not None

    def computed(self, node: fx.Node) -> Computed | None:
        """Return the axes of a parameter, or of what is computed from some; None if unknown."""
        if node in self.sources:
            return axes_of(self, self.sources[node])
        return self.lazy.get(node)

    def note_copies(self, node: fx.Node, before: torch.Size) -> None:
        """Record the dimensions along which an operator made copies of a value of that shape."""
        after = node.meta["val"].shape if isinstance(node.meta["val"], Tensor) else before
        offset = len(after) - len(before)
        self.spread[node] = {
            d for d, n in enumerate(after) if d < offset or before[d - offset] == 1 < n
        }

    def read_computed(self, node: fx.Node, dim: int | None) -> Tensor:
        """Labels of what is computed from parameters, along one dimension."""
        value = self.lazy[node]
        axes = [] if value is None else [a for a in value.axes if dim is None or a.dim == dim]
        if len(axes) == 1:
            self.dimension(*axes[0].key, "follower")
            return axes[0].labels.expand(node.meta["val"].shape)
        if value is not None and not value.axes:
            return torch.tensor(NONE).expand(node.meta["val"].shape)
        reason = f"{node.name} is computed from parameters"
        for axis in axes:
            self.forest.fix(axis.labels, reason)
        inputs = node.all_input_nodes if value is None else ()
        for each in inputs:
            if each in self.lazy:
                self.read_computed(each, None)
            else:
                self.forest.fix(self.read(each), reason)
        return cast(Tensor, self.foreign(node, reason))

    def axis(self, node: fx.Node, dim: int, role: Role) -> Tensor | None:
        """Labels along one dimension of a layer's weight; None if they cannot be followed."""
        name = self.weight_name(node)
        value = self.computed(node)
        if name is None or value is None:
            return None
        axis = value.axis(dim)
        if node in self.sources or (axis is None and node.meta["val"].shape[dim] == 1):
            return self.dimension(name, dim, role)
        if axis is None:
            return None
        self.dimension(*axis.key, role)
        self.omit(axis.labels, exact=value.zero)
        return axis.entries

    def can_follow(self, weight: fx.Node) -> bool:
        """Say whether a weight is a parameter, or is computed from some in a known way."""
        value = self.computed(weight)
        sizes = weight.meta["val"].shape[:2]
        axes = [value is not None and (n == 1 or value.axis(d)) for d, n in enumerate(sizes)]
        return self.weight_name(weight) is not None and (weight in self.sources or all(axes))

    def lead(self, weight: fx.Node, dim: int) -> str:
        """Return the parameter that stands for one dimension of a weight."""
        value = self.computed(weight)
        axis = None if value is None else value.axis(dim)
        return cast(str, self.weight_name(weight)) if axis is None else axis.key[0]

    def weight_name(self, node: fx.Node) -> str | None:
        """Return the name of a weight, or of the largest parameter that it is computed from."""
        if node in self.sources:
            return self.sources[node]
        names = [self.weight_name(n) for n in node.all_input_nodes] if node in self.lazy else []
        known = [name for name in names if name is not None]
        size = node.meta["val"].numel()
        return next((name for name in known if self.tensors[name].numel() == size), None)

    def omit(self, labels: Tensor, *, exact: bool = False) -> None:
        """Record a statistic over channels, unless it is the same for channels that are zero."""
        if not exact:
            self.omitting.append(labels)

    def read_by(self, channels: Tensor, entries: Tensor) -> None:
        """Unite channels with the entries of a parameter that read them."""
        self.forest.unite(channels, entries)
        self.forest.fix(entries[channels == NONE], "reads what belongs to no channel")

    def foreign(self, node: fx.Node, reason: str, value: Any = None) -> Any:
        """Labels of a value that can lose no channel: one label, fixed."""
        value = node.meta.get("val") if value is None else value
        label = self.forest.fresh(1)[0]
        self.forest.fix(label, reason)
        if isinstance(value, list | tuple):
            return [label.expand(v.shape) if isinstance(v, Tensor) else None for v in value]
        return label.expand(value.shape) if isinstance(value, Tensor) else None

    def unknown(self, node: fx.Node, reason: str) -> Any:
        """Fix all inputs and results of an operator."""
        for source in node.all_input_nodes:
            for labels in tensors(self.read(source)):
                self.forest.fix(labels, reason)
        return self.foreign(node, reason)

    def channels(self, labels: Tensor, dim: int) -> Tensor | None:
        """Labels along one dimension, or None if they differ only along others.

        Where they differ along others too, as those of features that a view lays out as maps, all
        that is at one index is one channel.
        """
        along_dim = labels[tuple(slice(None) if d == dim else 0 for d in range(labels.dim()))]
        if set(varying(labels)) - {dim}:
            if dim not in varying(labels):
                return None
            self.forest.unite(labels, along(along_dim, dim, labels.shape))
            self.assumed.append(along_dim)
        return along_dim

    def level(self, labels: Tensor, dims: set[int]) -> Tensor:
        """Let what differs along some dimensions be lost together, if others hold channels too."""
        spans = set(varying(labels))
        if not dims & spans or spans <= dims:
            return labels
        first = labels[tuple(slice(1) if d in dims else slice(None) for d in range(labels.dim()))]
        self.forest.unite(labels, first.expand(labels.shape))
        self.assumed.append(first)
        return first.expand(labels.shape)

    def part(self, node: fx.Node, dim: int, bounds: list[int]) -> bool:
        """Let parts of a dimension, cut at these bounds, lose the same channels.

        Returns:
            Whether that keeps the parts apart: a part of one channel would be all of them.
        """
        labels = squeeze_out(self.read(node))
        size = math.gcd(*bounds, labels.shape[dim])
        if varying(labels) != [dim] or size == 1:
            return False
        into = labels.movedim(dim, 0).reshape(labels.shape[dim], -1)[:, 0]
        self.forest.unite(into, into[:size].repeat(len(into) // size))
        self.assumed.append(into)
        return True

    # ---- operators of a kind ---------------------------------------------------------------

    def move(self, node: fx.Node) -> Any:
        """Run an operator that only moves values on the labels themselves."""
        args, kwargs = cast(Any, fx.node.map_arg((node.args, node.kwargs), self.read))
        target = cast(Any, node.target)
        if target in ONE_INDEX:  # one of the parts into which a view laid channels out
            args = (self.level(args[0], {argument(node, "dim", 0) % args[0].dim()}), *args[1:])
        # Expanded labels have other strides than the values, so a view may need a copy.
        target = torch.ops.aten.reshape.default if target in VIEWS else target
        try:
            result = target(*args, **kwargs)
        except (RuntimeError, TypeError):  # sizes that depend on data
            return self.unknown(node, f"{node.name} cannot be followed")
        if target is operator.getitem:
            return result
        if target in AT_POSITIONS:
            # x[:, :8] takes other channels after a removal; x[:, :, :8] does not.
            before = sequence(squeeze_out(args[0]))
            parts = [sequence(squeeze_out(part)) for part in tensors(result)]
            equal = all(torch.equal(before, part) for part in parts)
            if not equal and not (target in BOUNDS and self.part(*BOUNDS[target](node))):
                return self.unknown(node, f"{node.name} takes channels by their positions")
        if isinstance(result, Tensor):
            return self.unflattened(node, squeeze_out(result))
        return [squeeze_out(part) for part in result]

    def unflattened(self, node: fx.Node, labels: Tensor) -> Tensor:
        """Unite the features of each channel that a view creates; -1 marks the channel dimension.

        x.view(b, -1, 4, 4) turns 16 features into one channel.
        """
        sizes = node.args[-1] if node.target in {*VIEWS, UNFLATTEN} else ()
        if len(spans := varying(labels)) < 2 or -1 not in cast(list[int], sizes):
            return labels
        start = cast(int, node.args[1]) % labels.dim() if node.target == UNFLATTEN else 0
        dim = start + cast(list[int], sizes).index(-1)
        if dim not in spans:
            return labels
        first = labels[tuple(slice(None if d == dim else 1) for d in range(labels.dim()))]
        self.forest.unite(labels, first)
        return first.expand(labels.shape)

    def pointwise(self, node: fx.Node) -> Any:
        """Unite the labels of the operands, position by position.

        An operand of size 1 where the others have channels is the same for all of them: it is
        united with none.
        """
        value = node.meta["val"]
        if not isinstance(value, Tensor):
            return self.unknown(node, f"{node.name} gives several results")
        rank = value.dim()
        nodes = [n for n in node.all_input_nodes if self.is_known(n)]
        spans: set[int] = set()
        operands: list[tuple[Tensor, set[int]]] = []
        # Parameters come last: the other operands show which dimension holds channels.
        for source in sorted(nodes, key=lambda n: n in self.sources or n in self.lazy):
            dim = None
            if source in self.sources or source in self.lazy:
                shape = source.meta["val"].shape
                if len(spans) == 1:
                    dim = next(iter(spans)) - rank + len(shape)
                    if dim < 0 or shape[dim] == 1:
                        continue  # the same for every channel
            labels = self.read(source, dim)
            if not isinstance(labels, Tensor):
                return self.unknown(node, f"{node.name} reads a list")
            offset = rank - labels.dim()
            spread = self.spread.get(source, set())
            wide = {d + offset for d, s in enumerate(labels.shape) if s > 1 and d not in spread}
            spans |= {d + offset for d in varying(labels)}
            operands.append((labels.expand(value.shape), wide))
        result = torch.tensor(NONE).expand(value.shape)
        for labels, wide in operands:
            if spans and not spans & wide:
                continue
            result = self.join(node, result, labels)
        return result

    def join(self, node: fx.Node, a: Tensor, b: Tensor) -> Tensor:
        """Unite the labels of two values of one shape, and return the result's labels."""
        shape, overlap = a.shape, set(varying(a)) & set(varying(b))
        a, b = compact(a, b)
        self.forest.unite(a, b)
        if overlap:
            # A constant in one channel's position cannot be removed with the channel.
            reason = f"{node.name} meets values that belong to no channel"
            self.forest.fix(torch.where(a == NONE, b, NONE), reason)
            self.forest.fix(torch.where(b == NONE, a, NONE), reason)
        return torch.where(a == NONE, b, a).expand(shape)

    # ---- the groups ------------------------------------------------------------------------

    def fix_what_is_shared(self) -> None:
        """Fix tensors shared by two modules: cutting one would leave the other as it was."""
        names: dict[int, str] = {}
        every = {
            **dict(self.model.named_parameters(remove_duplicate=False)),
            **dict(self.model.named_buffers(remove_duplicate=False)),
        }
        for name, tensor in every.items():
            first = names.setdefault(id(tensor), name)
            if self.owner(first) is not self.owner(name):
                self.uncut[first] = f"{first} and {name} are one tensor"
        for name, tensor in every.items():
            if (first := names[id(tensor)]) in self.uncut:
                self.uncut[name] = self.uncut[first]
        for (name, _), labels in {**self.labels, **self.pending}.items():
            if name in self.uncut:
                self.forest.fix(labels, self.uncut[name])

    def fix_what_is_mixed(self, roots: Tensor) -> None:
        """Fix channels that are not whole slices of a value: removal would leave no tensor."""
        for node, value in self.values.items():
            for labels in tensors(value):
                if len(varying(labels)) < 2:
                    continue
                if len(varying(squeeze_out(roots[compact(labels)[0]]))) > 1:
                    self.forest.fix(labels, f"{node.name}: its channels are mixed with positions")

    def part_views(self, roots: Tensor) -> bool:
        """Let the parts into which a view lays channels out lose the same of them.

        As in a channel shuffle, x.view(b, 2, c // 2, h, w), the last of the dimensions shrinks.

        Returns:
            Whether there are such views.
        """
        self.roots = roots
        found = False
        for node, value in self.values.items():
            if node.target not in {*VIEWS, UNFLATTEN} or not isinstance(value, Tensor):
                continue
            (small,) = compact(value)
            spans = varying(squeeze_out(roots[small]))
            if len(spans) > 1:
                last = small[
                    tuple(slice(None if d == spans[-1] else 1) for d in range(small.dim()))
                ]
                self.forest.unite(small, last.expand(small.shape))
                self.assumed.append(last)
                found = True
        return found

    def register_pending(self, roots: Tensor) -> None:
        """Register those dimensions of parameters that turn out to have a layer's channels."""
        known = torch.zeros(len(roots), dtype=torch.bool)
        for labels in self.labels.values():
            known[roots[labels]] = True
        for (name, dim), labels in list(self.pending.items()):
            if bool(known[roots[labels]].any()):
                self.dimension(name, dim, "follower")

    def graph(self, roots: Tensor) -> ChannelGraph:
        """Group channels that occur in the same tensors, equally often, and are equally fixed."""
        self.register_pending(roots)
        reasons = self.forest.reasons(roots)
        omitted = torch.zeros(len(roots), dtype=torch.bool)
        for labels in self.omitting:
            omitted[roots[compact(labels)[0]]] = True
        omitted[NONE] = False
        counted = {(f"{path}.", 0): labels for path, labels in self.counts.items()}
        produced = {(name, -1): labels for name, labels in self.outputs.items()}
        labeled = {**self.labels, **counted, **produced}
        places = {key: roots[labels] for key, labels in labeled.items()}
        every = torch.cat([torch.empty(0, dtype=torch.int64), *places.values()])
        # The position of each root's first occurrence; channels and groups are in this order.
        first = torch.full((len(roots),), len(every))
        first.scatter_reduce_(0, every, torch.arange(len(every)), "amin")
        # Two roots are of one kind until a tensor distinguishes them.
        kind = reasons.clone()
        kinds = len(self.forest.fixes) + 1
        for here in places.values():
            found, times = torch.unique(here, return_counts=True)
            code = kind[found] * (int(times.max()) + 1) + times
            refined = torch.unique(code, return_inverse=True)[1]
            kind[found] = refined + kinds
            kinds += int(refined.max()) + 1
        channels = torch.unique(every)
        channels = channels[first[channels].argsort()]
        width = Counter(cast(list[int], kind[channels].tolist()))
        members: dict[int, list[Member]] = {k: [] for k in width}
        counts: dict[int, list[tuple[str, int]]] = {k: [] for k in width}
        outputs: dict[tuple[int, str], Tensor] = {}
        for (name, dim), here in places.items():
            # Positions, those of one kind together, in the order of their channels.
            order = (kind[here] * (len(every) + 1) + first[here]).argsort(stable=True)
            which, sizes = torch.unique_consecutive(kind[here[order]], return_counts=True)
            parts = torch.split(order, sizes.tolist())
            for k, part in zip(which.tolist(), parts, strict=True):
                index = part.view(width[k], -1)
                if (name, dim) in counted:
                    counts[k].append((name[:-1], index.shape[1]))
                elif (name, dim) in produced:
                    outputs[k, name] = index
                else:
                    members[k].append(Member(name, dim, self.roles[name, dim], index))
        reason_of = dict(zip(kind[channels].tolist(), reasons[channels].tolist(), strict=True))
        statistics = set(cast(list[int], kind[channels[omitted[channels]]].tolist()))
        groups: dict[str, ChannelGroup] = {}
        for k, found_members in members.items():
            lead = next((m for m in found_members if m.role == "producer"), found_members[0])
            name = layer_name(lead.name) if lead.role == "producer" else lead.name
            while name in groups:
                name += "'"
            fixed = "no layer known to us makes these channels" if lead.role != "producer" else None
            if reason_of[k] < len(self.forest.fixes):
                fixed = self.forest.fixes[reason_of[k]][1]
            units, made = found_members[0].index.shape[0], outputs.get((k, lead.name), lead.index)
            if fixed is None and units == 1 < made.numel():
                fixed = "its channels could only be removed all together"
            least = 2 if any((m.name, m.dim) in self.grouped for m in found_members) else 1
            filters = outputs.get((k, lead.name), lead.index)
            unit_of = filters.flatten().argsort() // filters.shape[1]
            members_of, counts_of = tuple(found_members), tuple(counts[k])
            groups[name] = ChannelGroup(
                name, members_of, unit_of, fixed, counts_of, least, k in statistics
            )
        shapes = {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}
        parameters = {
            id(tensor): name  # a tensor under two names is one
            for name, tensor in self.tensors.items()
            if isinstance(tensor, nn.Parameter)
        }
        return ChannelGraph(
            groups,
            shapes,
            self.positions,
            frozenset(parameters.values()),
            frozenset(self.directions),
            frozenset(self.permutations),
        )


def tensors(value: Any) -> list[Tensor]:
    """Return the tensors in a value: itself, those of a list, or none."""
    parts = value if isinstance(value, list | tuple) else [value]
    return [part for part in parts if isinstance(part, Tensor)]
