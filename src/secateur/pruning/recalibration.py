"""What a removal upsets, mended before retraining: the means that the next layers have lost."""

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
    """Put what removed channels give on average into the biases of the layers that read them.

    A filter that is all but zero still gives what its norm's shift and the activation make of it,
    and the next layer counts on that (Ye et al., "Rethinking the Smaller-Norm-Less-Informative
    Assumption", ICLR 2018). Exact for constant channels, but for the edges of padded maps. A layer
    without a bias stays as it is: the norm behind it takes such a shift up itself.

    Args:
        model: before the removal; changed in place, and in evaluation mode during the passes.
        graph: its channel groups.
        kept: the channels that stay, of each group that loses some.
        passes: each one is a forward pass of the model over a batch, made when it is asked for.
    """
    readers = {
        path: module
        for name in kept
        for path in graph.groups[name].consumers
        if isinstance(module := model.get_submodule(path), nn.Conv2d | nn.Linear)
        and getattr(module, "groups", 1) == 1
    }
    with evaluating(model):
        means = _mean_inputs(readers, passes)
    for name, stay in kept.items():
        gone = torch.ones(graph.groups[name].channels, dtype=torch.bool)
        gone[stay] = False
        for member in graph.groups[name].of_role("consumer"):
            path = module_path(member.name)
            if path in readers and (bias := readers[path].bias) is not None:
                positions = member.index[gone].flatten()
                lost = readers[path].weight[:, positions].unsqueeze(-1).flatten(2).sum(2)
                bias += lost @ means[path][positions]


@torch.no_grad()
def reestimate_norms(model: nn.Module, passes: Iterable[object]) -> None:
    """Measure anew the means and variances that batch norms have collected.

    Args:
        model: changed in place; all but its norms are in evaluation mode during the passes.
        passes: as for ``fold_means``; every batch has the same weight.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    with evaluating(model):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean of all batches, not a running one
            norm.train()
        for _ in passes:
            pass
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _mean_inputs(
    modules: Mapping[str, nn.Conv2d | nn.Linear], passes: Iterable[object]
) -> dict[str, Tensor]:
    """The mean of each input channel of each module, over everything it was given."""
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
