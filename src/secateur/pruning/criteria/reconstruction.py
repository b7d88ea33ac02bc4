"""What the readers of a channel lose once the other channels have made up for it."""

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from secateur.errors import PruningError
from secateur.models.example_inputs import call_arguments
from secateur.models.modes import evaluating
from secateur.models.raw_parts import raw_parts
from secateur.pruning.criteria.importance import Importance, Scored
from secateur.pruning.criteria.norms import filter_norm
from secateur.pruning.graph.groups import ChannelGroup, Member, module_path
from secateur.pruning.reconstruction.least_squares import in_double
from secateur.pruning.reconstruction.patches import channels_first, groups_of
from secateur.pruning.reconstruction.watching import watched

# Added to each variance, as a share of their mean: channels that never vary are no problem.
DAMPING = 1e-3
# Positions of a map that are looked at, per picture.
MOST_POSITIONS = 1024
# A wide layer loses several channels at a time, in this many rounds.
ROUNDS = 256


@torch.no_grad()
def unexplained(scored: Scored) -> Importance:
    """Score channels by what cannot be reconstructed without them.

    In each group one channel after another is removed: the one whose loss, after least squares
    over the channels that are left, is the least. The loss is the variance that its readers'
    outputs lose, as a share of all their variance. This is Optimal Brain Surgeon (Hassibi and
    Stork, NIPS 1992) for the outputs of a layer and whole channels, where neighbouring positions
    of a map count as further examples.

    A group without a reader that can be scored has the squared norms of its filters.

    Raises:
        PruningError: there are no inputs.
    """
    covariances = _covariances(scored)
    norms = filter_norm(scored, 2)
    importance = {}
    for name in scored.groups:
        group = scored.graph.groups[name]
        readers = [
            _Reader(covariances[member.name], _weights(scored, member))
            for member in group.of_role("consumer")
            if member.name in covariances
        ]
        squares = norms[name].square()
        importance[name] = (
            _eliminate(group, readers) if readers else squares / squares.sum().clamp_min(1e-300)
        )
    return importance


class _Reader:
    """A layer that reads a group.

    Attributes:
        precision: inverse covariance of the channels that are left, (C, C).
        products: of the weights that read two channels, summed over outputs, (C, C).
        variance: of all outputs, before anything is removed.
    """

    def __init__(self, covariance: Tensor, weights: Tensor) -> None:
        damping = DAMPING * covariance.diagonal().mean().clamp_min(1e-30)
        covariance = covariance + damping * torch.eye(len(covariance)).to(covariance)
        self.precision = torch.linalg.inv(covariance)
        self.products = weights @ weights.T
        self.variance = (self.products * covariance).sum().clamp_min(1e-300)

    def losses(self) -> Tensor:
        """The share of the variance that is lost without each channel, (C,)."""
        lost = self.products.diagonal() / self.precision.diagonal().clamp_min(1e-300)
        shares: Tensor = lost / self.variance
        return shares.clamp_min(0)

    def remove(self, channels: Tensor) -> None:
        """Let the others make up for some channels."""
        rows = self.precision[channels]
        shares = torch.linalg.solve(rows[:, channels], rows)  # (k, C)
        products = self.products[channels]
        self.precision -= rows.T @ shares
        self.products -= shares.T @ products + products.T @ shares
        self.products += shares.T @ products[:, channels] @ shares
        for matrix in (self.precision, self.products):
            matrix[channels] = 0
            matrix[:, channels] = 0
        self.precision[channels, channels] = 1


def _eliminate(group: ChannelGroup, readers: list[_Reader]) -> Tensor:
    """The loss of each channel when its turn comes; it never falls from one to the next."""
    importance = torch.zeros(group.units, dtype=torch.float64)
    left = torch.ones(group.units, dtype=torch.bool)
    size, floor = max(1, group.units // ROUNDS), 0.0
    while left.any():
        losses = torch.stack([reader.losses() for reader in readers]).mean(0).cpu()
        losses[~left] = torch.inf
        chosen = losses.argsort(stable=True)[: min(size, int(left.sum()))]
        importance[chosen] = losses[chosen].clamp_min(floor)
        floor = float(importance[chosen].max())
        left[chosen] = False
        for reader in readers:
            reader.remove(chosen.to(reader.precision.device))
    return importance


def _weights(scored: Scored, member: Member) -> Tensor:
    """The weights that read each channel, (C, weights)."""
    weight = in_double(scored.tensors[member.name].detach())
    slices = weight.movedim(member.dim, 0).flatten(1)
    return slices[member.index.to(slices.device)].flatten(1)


def _covariances(scored: Scored) -> dict[str, Tensor]:
    """Covariance of the channels that each weight reads, (C, C), by the weight's name.

    Raises:
        PruningError: there are no inputs.
    """
    members, layers = {}, {}
    modules = dict(scored.model.named_modules())
    for name in scored.groups:
        for member in scored.graph.groups[name].of_role("consumer"):
            layer = modules.get(path := module_path(member.name))
            if isinstance(layer, _ConvNd | nn.Linear) and groups_of(layer) == 1:
                members[path], layers[path] = member, layer
    counts = dict.fromkeys(members, 0)
    sums: dict[str, Tensor | float] = dict.fromkeys(members, 0.0)
    products: dict[str, Tensor | float] = dict.fromkeys(members, 0.0)

    def on_layer(path: str, given: Tensor) -> None:
        flat = channels_first(layers[path], given).flatten(2)  # (B, inputs, positions)
        flat = flat[:, :, :: math.ceil(flat.shape[2] / MOST_POSITIONS)]
        index = members[path].index.to(flat.device)
        values = in_double(flat[:, index].movedim(1, 0).flatten(1))  # (C, examples)
        counts[path] += values.shape[1]
        sums[path] = sums[path] + values.sum(1)
        products[path] = products[path] + values @ values.T

    batches = 0
    with evaluating(scored.model), watched(scored.model, layers, before=on_layer):
        for batch in scored.inputs() if scored.inputs is not None else ():
            model, inputs = raw_parts(scored.model, batch)
            args, kwargs = call_arguments(inputs)
            model(*args, **kwargs)
            batches += 1
    if not batches:
        raise PruningError(
            "the criterion reconstruction needs pictures; give a calibration with batches"
        )
    found = {}
    for path, count in counts.items():
        if count:
            mean = torch.as_tensor(sums[path]) / count
            found[members[path].name] = products[path] / count - torch.outer(mean, mean)
    return found
