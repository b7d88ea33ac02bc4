"""Parameters, MACs and bytes of a network.

A MAC is one multiply-add. Convolutions and linear layers are counted; biases, norms, activations,
pooling, decoding and NMS are not.
"""

from typing import Any

import torch
from torch import Tensor, nn

from secateur.pruning.example_inputs import ExampleInputs, call_arguments
from secateur.pruning.graph import evaluating


def count_params(model: nn.Module) -> int:
    """Number of parameters; running statistics of norms are not among them."""
    return sum(parameter.numel() for parameter in model.parameters())


def layer_macs(model: nn.Module, example_inputs: ExampleInputs) -> dict[str, int]:
    """MACs of each convolution and linear layer for one picture, by module path.

    Args:
        model: any module.
        example_inputs: with a batch of 1.
    """
    macs: dict[str, int] = {}
    names = {module: name for name, module in model.named_modules()}

    def count(module: nn.Module, _: Any, output: Tensor) -> None:
        weight = module.get_parameter("weight")
        if isinstance(module, nn.Linear):
            positions = output.numel() // output.shape[-1]
        else:
            positions = output.numel() // output.shape[1]
        name = names[module]
        macs[name] = macs.get(name, 0) + positions * weight.numel()

    counted = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
    hooks = [m.register_forward_hook(count) for m in names if isinstance(m, counted)]
    try:
        with torch.no_grad(), evaluating(model):
            args, kwargs = call_arguments(example_inputs)
            model(*args, **kwargs)
    finally:
        for hook in hooks:
            hook.remove()
    return macs


def count_macs(model: nn.Module, example_inputs: ExampleInputs) -> int:
    """MACs for one picture."""
    return sum(layer_macs(model, example_inputs).values())
