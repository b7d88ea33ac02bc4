"""Random importance, which any criterion must beat."""

import torch

from secateur.pruning.criteria.importance import Importance, Scored


def random_importance(scored: Scored) -> Importance:
    """Uniform random numbers from the seed."""
    generator = torch.Generator().manual_seed(scored.seed)
    return {
        name: torch.rand(scored.graph.groups[name].units, generator=generator).double()
        for name in scored.groups
    }
