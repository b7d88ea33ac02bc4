"""Recalibration before retraining: the means that readers of removed channels have lost."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from secateur.models.modes import evaluating
from secateur.pruning.graph.groups import ChannelGraph, module_path


@torch.no_grad()
def fold_means(
    model: nn.Module, graph: ChannelGraph, kept: Mapping[str, Tensor], passes: Iterable[object]
) -> None:
    """Add the mean contribution of removed channels to the biases of the layers that read them.

    A filter that is nearly zero still outputs what its norm's shift and the activation make of it,
    and the next layer relies on that (Ye et al., "Rethinking the Smaller-Norm-Less-Informative
    Assumption", ICLR 2018). This is exact for constant channels, except at the edges of padded
    maps. A layer without a bias does not change: the norm after it absorbs such a shift.

    Args:
        model: before the removal; changed in place, and in evaluation mode during the passes.
        graph: its channel groups.
        kept: the kept channels of each group that loses some.
        passes: forward passes of the model over a batch, each run when it is asked for.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    readers = {
        path: module
        for name in kept
        for path in graph.groups[name].consumers
        if isinstance(module := modules.get(path), nn.Conv2d | nn.Linear)
        and getattr(module, "groups", 1) == 1
    }
    with evaluating(model):
        means = _mean_inputs(readers, passes)
    for name, indices in kept.items():
        group = graph.groups[name]
        removed = torch.ones(group.units, dtype=torch.bool)
        removed[group.units_of(indices)] = False
        for member in group.of_role("consumer"):
            path = module_path(member.name)
            if path in readers and (bias := readers[path].bias) is not None:
                positions = member.index[removed].flatten()
                lost = readers[path].weight[:, positions].unsqueeze(-1).flatten(2).sum(2)
                bias += lost @ means[path][positions].to(bias.device)


@torch.no_grad()
def reestimate_norms(model: nn.Module, passes: Iterable[object]) -> None:
    """Re-estimate the running means and variances of batch norms.

    Args:
        model: changed in place; only its norms are in training mode during the passes.
        passes: as for ``fold_means``; every batch has the same weight.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    with evaluating(model):
        for norm in norms:
            # The mean of all batches: the first replaces what was there.
            norm.momentum = None
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.zero_()
            norm.train()
        for _ in passes:
            pass
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _mean_inputs(
    modules: Mapping[str, nn.Conv2d | nn.Linear], passes: Iterable[object]
) -> dict[str, Tensor]:
    """The mean of each input channel of each module, over all its inputs."""
    sums = {path: torch.zeros(module.weight.shape[1]) for path, module in modules.items()}
    counts = dict.fromkeys(modules, 0)

    def watch(path: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def add(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            values = given[0].movedim(1, 0).flatten(1).float()
            sums[path] = sums[path].to(values.device) + values.sum(1)
            counts[path] += values.shape[1]

        return add

    hooks = [module.register_forward_pre_hook(watch(path)) for path, module in modules.items()]
    try:
        for _ in passes:
            pass
    finally:
        for hook in hooks:
            hook.remove()
    return {path: total.cpu() / max(1, counts[path]) for path, total in sums.items()}
