"""Secateur makes SSD object detectors and other convolutional networks small, by filter pruning.

The names below are public. They are imported when first used, so that ``import secateur`` and
the command line's help do not wait for torch.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secateur.config.recipe import load_recipe
    from secateur.errors import SecateurError
    from secateur.export.export import export
    from secateur.export.target import Target
    from secateur.inference.predictor import Predictor, open_predictor
    from secateur.inference.torch_network import TorchNetwork
    from secateur.models.module_file import load_model, save, shrink_to
    from secateur.models.network_file import load_network, save_network
    from secateur.models.network_file import load_network as load
    from secateur.pruning.compress import compress
    from secateur.pruning.graph.trace import channel_groups
    from secateur.pruning.penalties import (
        GroupProximal,
        L1Proximal,
        L1Subgradient,
        Penalties,
        apply_threshold,
        group_proximal_step,
        l1_penalty,
        make_penalty,
        proximal_step,
        prunable_blocks,
        prunable_weights,
        zero_share,
    )
    from secateur.pruning.removal import mask_filters, remove_filters, verify_removal
    from secateur.pruning.result import Measure, PhaseResult, Result
    from secateur.pruning.selection.select import (
        select_by_budget,
        select_by_sparsity,
        select_filters,
    )
    from secateur.pruning.threshold import search_threshold, thresholded
    from secateur.run.pipeline import compress_recipe

# Where each name lives, with its name there where that is another.
_HOMES = {
    "GroupProximal": "pruning.penalties",
    "L1Proximal": "pruning.penalties",
    "L1Subgradient": "pruning.penalties",
    "Measure": "pruning.result",
    "Penalties": "pruning.penalties",
    "PhaseResult": "pruning.result",
    "Predictor": "inference.predictor",
    "Result": "pruning.result",
    "SecateurError": "errors",
    "Target": "export.target",
    "TorchNetwork": "inference.torch_network",
    "apply_threshold": "pruning.penalties",
    "channel_groups": "pruning.graph.trace",
    "compress": "pruning.compress",
    "compress_recipe": "run.pipeline",
    "export": "export.export",
    "group_proximal_step": "pruning.penalties",
    "l1_penalty": "pruning.penalties",
    "load": "models.network_file:load_network",
    "load_model": "models.module_file",
    "load_network": "models.network_file",
    "load_recipe": "config.recipe",
    "make_penalty": "pruning.penalties",
    "mask_filters": "pruning.removal",
    "open_predictor": "inference.predictor",
    "verify_removal": "pruning.removal",
    "proximal_step": "pruning.penalties",
    "prunable_blocks": "pruning.penalties",
    "prunable_weights": "pruning.penalties",
    "remove_filters": "pruning.removal",
    "save": "models.module_file",
    "save_network": "models.network_file",
    "search_threshold": "pruning.threshold",
    "select_by_budget": "pruning.selection.select",
    "select_by_sparsity": "pruning.selection.select",
    "select_filters": "pruning.selection.select",
    "shrink_to": "models.module_file",
    "thresholded": "pruning.threshold",
    "zero_share": "pruning.penalties",
}

__all__ = [
    "GroupProximal",
    "L1Proximal",
    "L1Subgradient",
    "Measure",
    "Penalties",
    "PhaseResult",
    "Predictor",
    "Result",
    "SecateurError",
    "Target",
    "TorchNetwork",
    "apply_threshold",
    "channel_groups",
    "compress",
    "compress_recipe",
    "export",
    "group_proximal_step",
    "l1_penalty",
    "load",
    "load_model",
    "load_network",
    "load_recipe",
    "make_penalty",
    "mask_filters",
    "open_predictor",
    "proximal_step",
    "prunable_blocks",
    "prunable_weights",
    "remove_filters",
    "save",
    "save_network",
    "search_threshold",
    "select_by_budget",
    "select_by_sparsity",
    "select_filters",
    "shrink_to",
    "thresholded",
    "verify_removal",
    "zero_share",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("secateur")
    if name in _HOMES:
        home, _, original = _HOMES[name].partition(":")
        return getattr(import_module(f"secateur.{home}"), original or name)
    raise AttributeError(f"module 'secateur' has no attribute {name!r}")
