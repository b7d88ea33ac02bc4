"""What CONTRIBUTING says about additions holds: one entry in a table, in a few lines each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter
from torch import Tensor, nn

import secateur
from secateur.config.data import DetectionData
from secateur.config.model import Model
from secateur.data.detection_set import DetectionSet, annotated_picture
from secateur.data.formats.format import Format, Recognised, SplitRequest
from secateur.data.formats.table import FORMATS
from secateur.data.layout import guess_layout
from secateur.data.source import read_split
from secateur.errors import SecateurError
from secateur.export.table import EXPORTS, PRECISIONS, ExportFormat
from secateur.inference.torch_network import TorchNetwork
from secateur.models.architecture import Architecture, NetworkBuilder, Options
from secateur.models.network import build_network, layer_widths
from secateur.models.network_file import NetworkFile, load_network, save_network
from secateur.models.table import NETWORKS
from secateur.models.vgg import build_vgg, vgg_architecture
from secateur.pruning.criteria.importance import Importance, Scored
from secateur.pruning.criteria.table import CRITERIA, Criterion
from secateur.pruning.penalties.penalty import Penalties
from secateur.pruning.penalties.table import PENALTIES, Penalized, PenaltyKind
from secateur.runtimes.header import ExportHeader
from secateur.runtimes.table import RUNTIMES, Runtime

CORNERS = [(1.0, 2.0, 5.0, 6.0)]


def read_squares(wanted: SplitRequest) -> DetectionSet:
    """A layout: every picture of SPLIT shows one square in the same place."""
    paths = sorted((wanted.root / wanted.split).glob("*.png"))
    pictures = [annotated_picture(path, CORNERS, [1], [False], path) for path in paths]
    return DetectionSet(("square",), tuple(pictures))


def test_data_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    squares = Format(
        task="detection",
        description="one square in each picture of `SPLIT`",
        read=read_squares,
        recognise=lambda root: Recognised("fit", None) if (root / "fit").is_dir() else None,
    )
    monkeypatch.setitem(FORMATS, "squares", squares)
    (tmp_path / "fit").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "fit" / "a.png")

    layout = guess_layout(tmp_path)
    assert (layout.format, layout.train) == ("squares", "fit")
    data = DetectionData(format="squares", root=tmp_path, train="fit", test=None)
    found = read_split(data, "fit", size=8)
    assert isinstance(found, DetectionSet)
    assert found.classes == ("square",)
    assert [picture.boxes.tolist() for picture in found.pictures] == [[list(CORNERS[0])]]


class TinyOptions(Options):
    """A network: what a recipe says of it."""

    network: Literal["tiny"] = "tiny"
    width: int = 8


class TinyArchitecture(Architecture):
    """A network: its arguments."""

    width: int


def resolve_tiny(
    options: TinyOptions, classes: tuple[str, ...], resize: bool = True
) -> TinyArchitecture:
    """A network: from what a recipe says to its arguments."""
    return TinyArchitecture(
        network=options.network,
        classes=classes,
        size=options.input_size,
        resize=resize,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        width=options.width,
    )


class Tiny(nn.Sequential):
    """A network: its layers."""

    def __init__(self, architecture: TinyArchitecture) -> None:
        width, classes = architecture.width, len(architecture.classes)
        super().__init__(
            *(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)),
        )


def test_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = NetworkBuilder(
        task="classification",
        options=TinyOptions,
        architecture=TinyArchitecture,
        resolve=resolve_tiny,
        build=Tiny,
        modules=(Tiny,),
    )
    monkeypatch.setitem(NETWORKS, "tiny", builder)
    section = TypeAdapter(Model).validate_python({"network": "tiny", "size": 32, "width": 6})
    assert section.model_dump()["width"] == 6
    architecture = builder.resolve(section, ("a", "b"), True)
    dense = build_network(architecture)
    assert layer_widths(dense) == {"0": 6, "2": 6}
    x = torch.randn(2, 3, 32, 32)
    graph = secateur.channel_groups(dense, x)
    slim = secateur.remove_filters(dense, graph, {"0": torch.arange(3), "2": torch.arange(5)})

    save_network(tmp_path / "slim.safetensors", slim, architecture, {})
    loaded = load_network(tmp_path / "slim.safetensors")
    assert isinstance(loaded.model, Tiny)
    assert layer_widths(loaded.model) == {"0": 3, "2": 5}
    assert loaded.architecture == architecture
    torch.testing.assert_close(loaded.model(x), slim(x))


def first_channels(scored: Scored) -> Importance:
    """A criterion: the first channels are the most important."""
    channels = {name: scored.graph.groups[name].units for name in scored.groups}
    return {name: torch.arange(count, 0, -1).double() for name, count in channels.items()}


def test_criterion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CRITERIA, "first", Criterion(first_channels, "the first channels"))
    net = Tiny(resolve_tiny(TinyOptions(size=32), ("a", "b")))
    result = secateur.compress(
        net,
        torch.randn(2, 3, 32, 32),
        secateur.Goal(keep_macs=0.5),
        train=lambda _model, _penalty: None,  # only retraining; there is nothing to learn
        evaluate=lambda _model: 1.0,
        method=secateur.Method(
            selection=secateur.SelectionSettings(criterion="first", min_filters=1)
        ),
    )
    assert result.slim.macs <= 0.5 * result.dense.macs
    kept = {name: indices.tolist() for name, indices in result.kept.items()}
    assert kept == {name: list(range(len(indices))) for name, indices in kept.items()}
    assert all(0 < len(indices) < 8 for indices in kept.values())


class Shrink:
    """A penalty: every step multiplies the weights."""

    def __init__(self, weights: Mapping[str, nn.Parameter], strength: float) -> None:
        self.weights, self.strength = weights, strength

    def before_step(self, _optimizer: torch.optim.Optimizer | None = None) -> None:
        """Leave the gradients."""

    def after_step(self, _optimizer: torch.optim.Optimizer) -> None:
        """Shrink the weights."""
        for weight in self.weights.values():
            weight.data.mul_(1 - self.strength)


def build_shrink(network: Penalized, strength: float | None) -> Penalties:
    """A penalty: how it is built."""
    layers = dict(network.model.named_parameters())
    weights = {f"{name}.weight": layers[f"{name}.weight"] for name in network.groups}
    return Penalties([Shrink(weights, strength or 0.0)], weights, strength)


def test_penalty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PENALTIES, "shrink", PenaltyKind(build_shrink, "shrinks the weights"))
    net = Tiny(resolve_tiny(TinyOptions(size=32), ("a", "b")))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    graph = secateur.channel_groups(net, torch.randn(1, 3, 32, 32))
    penalty = secateur.make_penalty(net, graph, ["2"], kind="shrink", strength=0.25)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    penalty.attach(optimizer)
    net(torch.randn(1, 3, 32, 32)).sum().backward()
    optimizer.step()
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, before[name] * (0.75 if name == "2.weight" else 1.0))


def write_net(
    network: TorchNetwork, path: Path, header: ExportHeader, _pictures: Sequence[Tensor]
) -> None:
    """An export target: a network file of another name."""
    assert network.architecture is not None
    save_network(path, network.model, network.architecture, header.provenance)


def open_net(path: Path, _threads: int | None = None) -> NetworkFile:
    """A runtime for it."""
    return load_network(path)


def write_broken_net(
    network: TorchNetwork, path: Path, header: ExportHeader, _pictures: Sequence[Tensor]
) -> None:
    """An export target that writes another network."""
    assert network.architecture is not None
    other = build_network(network.architecture)
    save_network(path, other, network.architecture, header.provenance)


@pytest.mark.parametrize("writer", ["write_net", "write_broken_net"])
def test_export_target(writer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = ExportFormat(
        "network file of another name",
        ".net",
        f"{__name__}:{writer}",
        {"fp32": PRECISIONS["fp32"]},
        traced=False,
    )
    monkeypatch.setitem(EXPORTS, "net", target)
    opener = f"{__name__}:open_net"
    runtime = Runtime("runs .net files", "torch", (".net",), opener, RUNTIMES["torch"].compiler)
    monkeypatch.setitem(RUNTIMES, "mine", runtime)
    torch.manual_seed(0)
    architecture = vgg_architecture(("a", "b", "c"), size=32, widths=0.1, hidden=(), pool=1)
    model = build_vgg(architecture)
    nn.init.normal_(model.classifier[-1].weight)  # fresh weights would give all classes alike
    save_network(tmp_path / "slim.safetensors", model, architecture, {})

    network = TorchNetwork.load(str(tmp_path / "slim.safetensors"))
    out = tmp_path / "slim.net"
    if writer == "write_broken_net":
        with pytest.raises(SecateurError, match="differ"):
            secateur.export_network(network, out, secateur.Target("net"))
        assert not out.exists()
        return
    secateur.export_network(network, out, secateur.Target("net"))
    picture = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    expected = secateur.open_predictor(tmp_path / "slim.safetensors").classify(picture)
    torch.testing.assert_close(secateur.open_predictor(out).classify(picture), expected)
