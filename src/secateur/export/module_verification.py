"""Verification of an exported file of any network: its outputs are the network's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from secateur.errors import ExportError, first_line
from secateur.export.table import PRECISIONS
from secateur.pruning.verification import largest_difference
from secateur.runtimes.exported_file import RunNamed

# How often a file is verified on random inputs.
_RANDOM = 3
_CURE = "make forward deterministic, of torch operators alone, or please report this network"

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """What a file takes and gives.

    Attributes:
        tensors: the example.
        batched: for each of them, whether its first dimension may have any size.
        inputs: names of the tensors.
        outputs: names.
    """

    tensors: Tensors
    batched: Sequence[bool]
    inputs: Sequence[str]
    outputs: Sequence[str]

    def with_samples(self, samples: int) -> Tensors:
        """Give the example with as many samples: its first ones, or all in turn."""
        return tuple(
            x[torch.arange(samples) % len(x)] if free else x
            for x, free in zip(self.tensors, self.batched, strict=True)
        )


def verify_module(
    network: Callable[[Tensors], Tensors], run: RunNamed, signature: Signature
) -> tuple[str, float]:
    """Compare a file with its network on the example and on random inputs.

    Returns:
        The inputs, in words; and the largest difference of a float, as a share of its output's
        largest magnitude.

    Raises:
        ExportError: the file does not run, or an output differs.
    """
    example = signature.tensors
    largest = _difference(network(example), run, example, signature)
    generator = torch.Generator().manual_seed(0)
    for samples in range(1, _RANDOM + 1):
        drawn = tuple(_random(x, generator) for x in signature.with_samples(samples))
        try:
            wanted = network(drawn)
        except Exception as error:  # a forward pass may raise anything
            return f"the example, because random inputs do not fit ({first_line(error)})", largest
        largest = max(largest, _difference(wanted, run, drawn, signature))
    return f"the example and {_RANDOM} random inputs", largest


def _difference(wanted: Tensors, run: RunNamed, tensors: Tensors, signature: Signature) -> float:
    tolerance, largest = PRECISIONS["fp32"], 0.0
    assert tolerance is not None  # noqa: S101 # only that of int8 is None
    arrays = [x.contiguous().numpy() for x in tensors]
    try:
        given = run(dict(zip(signature.inputs, arrays, strict=True)))
    except Exception as error:  # its class is not public
        raise ExportError(f"the file does not run ({first_line(error)[:200]}); {_CURE}") from error
    for name, ours, array in zip(signature.outputs, wanted, given, strict=True):
        theirs = torch.from_numpy(np.array(array))
        if ours.shape != theirs.shape:
            raise ExportError(
                f"its output {name} is {[*theirs.shape]}, the network's {[*ours.shape]}; {_CURE}"
            )
        if not ours.is_floating_point():
            equal = float((ours == theirs).double().mean()) if ours.numel() else 1.0
            if equal < tolerance.share:
                raise ExportError(
                    f"only {equal:.1%} of its output {name} equal the network's; {_CURE}"
                )
            continue
        difference = largest_difference([ours], [theirs])
        if not difference <= tolerance.score:  # NaN verifies nothing either
            raise ExportError(
                f"its output {name} differs from the network's by {difference:g} of its largest "
                f"magnitude (at most {tolerance.score:g}); {_CURE}"
            )
        largest = max(largest, difference)
    return largest


def _random(x: Tensor, generator: torch.Generator) -> Tensor:
    """Draw values in the range of a tensor's; normal ones if all its values are the same."""
    if x.dtype == torch.bool:
        return torch.randint(0, 2, x.shape, generator=generator).bool()
    if not x.numel() or x.is_complex() or not x.isfinite().all():
        return x
    least, most = x.min(), x.max()
    if not x.is_floating_point():
        numbers = torch.randint(int(least), int(most) + 1, x.shape, generator=generator)
        return numbers.to(x.dtype)
    if least == most:
        return torch.randn(x.shape, generator=generator)
    return torch.rand(x.shape, generator=generator) * (most - least) + least
