"""Secateur makes SSD object detectors and other convolutional networks small, by filter pruning.

The names below are public. They are imported when first used, so that ``import secateur`` and
the command line's help do not wait for torch.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secateur.compression.compress import compress
    from secateur.compression.result import Measure, PhaseResult, Result
    from secateur.compression.slim_file import save, shrink_to
    from secateur.errors import SecateurError
    from secateur.exporting.export import export
    from secateur.exporting.source import load_source, ssd_source
    from secateur.exporting.target import Target
    from secateur.models.network_file import load_network, save_network
    from secateur.models.network_file import load_network as load
    from secateur.pipeline import compress_recipe
    from secateur.pruning.graph import channel_groups
    from secateur.pruning.removal import mask_filters, prove_removal, remove_filters
    from secateur.pruning.selection import select_by_budget, select_by_sparsity, select_filters
    from secateur.pruning.sparsity import (
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
    from secateur.pruning.threshold import search_threshold, thresholded
    from secateur.recipe import load_recipe
    from secateur.runtimes.opened import open_network

# Where each name lives, with its name there where that is another.
_HOMES = {
    "GroupProximal": "pruning.sparsity",
    "L1Proximal": "pruning.sparsity",
    "L1Subgradient": "pruning.sparsity",
    "Measure": "compression.result",
    "Penalties": "pruning.sparsity",
    "PhaseResult": "compression.result",
    "Result": "compression.result",
    "SecateurError": "errors",
    "Target": "exporting.target",
    "apply_threshold": "pruning.sparsity",
    "channel_groups": "pruning.graph",
    "compress": "compression.compress",
    "compress_recipe": "pipeline",
    "export": "exporting.export",
    "group_proximal_step": "pruning.sparsity",
    "l1_penalty": "pruning.sparsity",
    "load": "models.network_file:load_network",
    "load_network": "models.network_file",
    "load_recipe": "recipe",
    "load_source": "exporting.source",
    "make_penalty": "pruning.sparsity",
    "mask_filters": "pruning.removal",
    "open_network": "runtimes.opened",
    "prove_removal": "pruning.removal",
    "proximal_step": "pruning.sparsity",
    "prunable_blocks": "pruning.sparsity",
    "prunable_weights": "pruning.sparsity",
    "remove_filters": "pruning.removal",
    "save": "compression.slim_file",
    "save_network": "models.network_file",
    "search_threshold": "pruning.threshold",
    "select_by_budget": "pruning.selection",
    "select_by_sparsity": "pruning.selection",
    "select_filters": "pruning.selection",
    "shrink_to": "compression.slim_file",
    "ssd_source": "exporting.source",
    "thresholded": "pruning.threshold",
    "zero_share": "pruning.sparsity",
}

__all__ = [
    "GroupProximal",
    "L1Proximal",
    "L1Subgradient",
    "Measure",
    "Penalties",
    "PhaseResult",
    "Result",
    "SecateurError",
    "Target",
    "apply_threshold",
    "channel_groups",
    "compress",
    "compress_recipe",
    "export",
    "group_proximal_step",
    "l1_penalty",
    "load",
    "load_network",
    "load_recipe",
    "load_source",
    "make_penalty",
    "mask_filters",
    "open_network",
    "prove_removal",
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
    "ssd_source",
    "thresholded",
    "zero_share",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("secateur")
    if name in _HOMES:
        home, _, original = _HOMES[name].partition(":")
        return getattr(import_module(f"secateur.{home}"), original or name)
    raise AttributeError(f"module 'secateur' has no attribute {name!r}")
