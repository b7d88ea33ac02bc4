"""Forward and backward passes of a training as CUDA graphs.

Without them the GPU waits for Python in networks of many small operations.
"""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn


def record_passes(objective: nn.Module, batch: Sequence[Tensor], *, bf16: bool) -> None:
    """Record a module's forward and backward passes as CUDA graphs, which later calls replay.

    The warm-up passes change the running statistics of norms and the state of the random number
    generator; both are restored.

    Args:
        objective: in training mode, on a GPU; gives the loss of a batch, without synchronising with
            the device or copying to it.
        batch: one batch; all later ones have its shapes and types.
        bf16: compute under autocast in bfloat16.
    """
    buffers = {buffer: buffer.clone() for buffer in objective.buffers()}
    rng_state = torch.cuda.get_rng_state()
    # A weight's cached bf16 copy would be stale in the next replay.
    autocast = torch.autocast("cuda", torch.bfloat16, cache_enabled=False)
    with autocast if bf16 else nullcontext():
        torch.cuda.make_graphed_callables(objective, tuple(batch), allow_unused_input=True)
    torch.cuda.set_rng_state(rng_state)
    with torch.no_grad():
        for buffer, before in buffers.items():
            buffer.copy_(before)
