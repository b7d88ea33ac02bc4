from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from secateur.export.table import EXPORTS, write_file
from secateur.export.target import Target
from secateur.inference.torch_network import TorchNetwork
from secateur.models.architecture import Architecture
from secateur.models.network import build_network
from secateur.models.network_file import save_network
from secateur.models.ssd import ssd_architecture
from secateur.models.vgg import vgg_architecture


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _write(path: Path, architecture: Architecture) -> Path:
    torch.manual_seed(0)
    save_network(path, build_network(architecture).eval(), architecture, {})
    return path


@pytest.fixture(scope="session")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    architecture = ssd_architecture(
        "ssd300", ("dog", "cat"), size=96, widths=0.05, batch_norm=True, detection_layers=3
    )
    return _write(tmp_path_factory.mktemp("networks") / "detector.safetensors", architecture)


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    architecture = ssd_architecture(
        "ssd300", ("dog",), size=96, widths=0.05, detection_layers=2, resize=False
    )
    return _write(tmp_path_factory.mktemp("networks") / "native.safetensors", architecture)


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    architecture = vgg_architecture(("a", "b", "c"), size=32, widths=0.05, hidden=(), pool=1)
    return _write(tmp_path_factory.mktemp("networks") / "classifier.safetensors", architecture)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Export each network file once."""
    folder = tmp_path_factory.mktemp("exports")

    def export(network: Path, target: Target, batch: int | None = 1) -> Path:
        raw = "raw" if target.raw else "objects"
        path = folder / f"{network.stem}-{raw}-{batch}{EXPORTS[target.format].suffix}"
        if not path.exists():
            loaded = TorchNetwork.load(str(network))
            changes = {
                "outputs": "raw" if target.raw else loaded.header.outputs,
                "shape": (loaded.header.size,) * 2,
                "batch": batch,
                "macs": 1_000_000,
            }
            header = loaded.header.model_copy(update=changes)
            write_file(loaded, path, target.format, header)
        return path

    return export
