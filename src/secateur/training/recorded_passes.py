"""Forward and backward passes as one launch.

For networks whose parts a GPU has done sooner than Python can ask for them.
"""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn


def record_passes(objective: nn.Module, batch: Sequence[Tensor], *, bf16: bool) -> None:
    """Record a module's forward and backward passes as CUDA graphs, and replay them from now on.

    What the rehearsal changes (statistics of norms, chance) is put back, so that a training sees
    no more than its own steps.

    Args:
        objective: in training mode, on a GPU; it gives a loss, takes the batches that it is trained
            with, and waits for nothing and moves nothing on the way.
        batch: one of them; all later ones have its shapes and types.
        bf16: compute under autocast in bfloat16.
    """
    buffers = {buffer: buffer.clone() for buffer in objective.buffers()}
    chance = torch.cuda.get_rng_state()
    # A weight's bf16 copy may not be kept from one replay to the next: the weight has changed.
    autocast = torch.autocast("cuda", torch.bfloat16, cache_enabled=False)
    with autocast if bf16 else nullcontext():
        torch.cuda.make_graphed_callables(objective, tuple(batch), allow_unused_input=True)
    torch.cuda.set_rng_state(chance)
    with torch.no_grad():
        for buffer, before in buffers.items():
            buffer.copy_(before)
