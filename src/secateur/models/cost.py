"""Parameters and MACs of a network.

A MAC is one multiply-add. Convolutions and linear layers are counted; biases, norms, activations,
pooling, decoding and NMS are not.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from secateur.models.example_inputs import ExampleInputs, call_arguments
from secateur.models.modes import attributes_restored, evaluating


def count_params(model: nn.Module) -> int:
    """Count the parameters; running statistics of norms are not parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def layer_macs(model: nn.Module, example_inputs: ExampleInputs) -> dict[str, int]:
    """Count the MACs of each convolution and linear layer for one image, by module path.

    Args:
        model: any module; on the ``meta`` device it is counted without computing anything.
        example_inputs: a batch of 1, on the model's device.
    """
    macs: dict[str, int] = {}
    names = {module: name for name, module in model.named_modules()}

    def count(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        weight = cast(Tensor, module.weight)
        # A transposed convolution applies all its weights at each position of its input.
        transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
        values = inputs[0] if transposed else output
        dim = -1 if isinstance(module, nn.Linear) else 1 - weight.dim()
        positions = values.numel() // values.shape[dim]
        name = names[module]
        macs[name] = macs.get(name, 0) + positions * weight.numel()

    counted = (nn.modules.conv._ConvNd, nn.Linear)
    hooks = [m.register_forward_hook(count) for m in names if isinstance(m, counted)]
    try:
        with attributes_restored(model), torch.no_grad(), evaluating(model):
            args, kwargs = call_arguments(example_inputs)
            model(*args, **kwargs)
    finally:
        for hook in hooks:
            hook.remove()
    return macs


def count_macs(model: nn.Module, example_inputs: ExampleInputs) -> int:
    """Count the MACs for one image."""
    return sum(layer_macs(model, example_inputs).values())
