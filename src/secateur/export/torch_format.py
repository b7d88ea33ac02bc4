"""The format ``torch``: a network file without batch norms."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from secateur.export.folding import fold_batch_norm
from secateur.inference.torch_network import TorchNetwork
from secateur.models.network import build_network
from secateur.models.network_file import save_network
from secateur.models.shapes import shrink_to_shapes
from secateur.runtimes.header import ExportHeader


def write_torch_file(
    network: TorchNetwork, path: Path, header: ExportHeader, _pictures: Sequence[Tensor] = ()
) -> None:
    """Write a network file; see ``table.write_file``. With fp16, its weights are in half precision.

    The network is built again without batch norms and takes over the folded network's tensors,
    which are the same and in the same order.
    """
    architecture = network.architecture
    assert architecture is not None  # noqa: S101 # target.export_header checks it
    model = fold_batch_norm(network.model).cpu()
    if getattr(architecture, "batch_norm", False):
        architecture = architecture.model_copy(update={"batch_norm": False})
        with torch.device("meta"):
            plain = build_network(architecture)
        state = dict(zip(plain.state_dict(), model.state_dict().values(), strict=True))
        shapes = {name: tensor.shape for name, tensor in state.items()}
        model = shrink_to_shapes(plain, shapes, device="cpu")
        model.load_state_dict(state)
    if header.precision == "fp16":
        model = model.half()
    save_network(path, model, architecture, header.provenance)
