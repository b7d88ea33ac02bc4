"""What a criterion gives, and what it may look at."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from secateur.models.example_inputs import ExampleInputs
from secateur.pruning.graph.groups import ChannelGraph

# By group, a number for every unit, (units,) float64; the least important are removed first.
Importance = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Scored:
    """What a criterion may look at.

    Attributes:
        model: the network whose channels are scored, thresholded where the criterion reads zeros.
        graph: its channel groups.
        groups: names of those that may lose channels.
        example_inputs: what the network can be traced with.
        min_filters: filters kept in each group.
        seed: of random numbers.
        losses: gives the loss of some training batches, each computed when it is asked for; None
            where there are no labelled batches.
        inputs: gives what the network is called with on some training batches; None where there
            are none.
        tensors: the network's parameters by path.
    """

    model: nn.Module
    graph: ChannelGraph
    groups: Sequence[str]
    example_inputs: ExampleInputs
    min_filters: int = 1
    seed: int = 0
    losses: Callable[[], Iterator[Tensor]] | None = None
    inputs: Callable[[], Iterator[ExampleInputs]] | None = None
    tensors: Mapping[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        tensors = dict(self.model.named_parameters(remove_duplicate=False))
        object.__setattr__(self, "tensors", tensors)
