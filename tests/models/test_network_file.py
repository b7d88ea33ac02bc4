"""Network files: round trips, and files that are not what they say."""

import json
import pickle
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file

from secateur.errors import ModelError
from secateur.models.network_file import load_network, load_weights, save_network
from secateur.models.ssd import build_ssd, convolutions, ssd_architecture

torch.set_num_threads(1)
SMALL = ssd_architecture("ssd300", ("stop", "yield"), size=96, detection_layers=3, widths=1 / 32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "network.safetensors"
    save_network(path, build_ssd(SMALL), SMALL, {"run": "a", "AP50_voc07": 71.5})
    return path


@pytest.mark.parametrize("batch_norm", [False, True])
def test_round_trip(tmp_path: Path, batch_norm: bool) -> None:
    architecture = SMALL.model_copy(update={"batch_norm": batch_norm, "resize": False})
    ssd = build_ssd(architecture)
    save_network(tmp_path / "n.safetensors", ssd, architecture, {"step": "dense"})
    loaded = load_network(tmp_path / "n.safetensors")
    assert loaded.architecture == architecture
    assert loaded.provenance == {"step": "dense"}
    assert not loaded.model.training
    wanted, given = ssd.state_dict(), loaded.model.state_dict()
    assert list(wanted) == list(given)
    assert all(torch.equal(wanted[name], given[name]) for name in wanted)
    assert [path.name for path in tmp_path.iterdir()] == ["n.safetensors"]


def rewrite(path: Path, header: object) -> None:
    save_file(load_file(path), path, {"format": "pt", "secateur": json.dumps(header)})


def test_header_that_does_not_fit_the_weights(file: Path) -> None:
    wider = SMALL.model_dump(mode="json")
    wider["widths"]["conv3_1"] += 1
    rewrite(file, {"architecture": wider, "provenance": {}})
    with pytest.raises(ModelError, match=r"network\.safetensors: .*features\.10\.weight is \[8, 4"):
        load_network(file)


@pytest.mark.parametrize(
    "header",
    [
        {},
        [],
        None,
        {"architecture": {}, "provenance": {}},
        {"architecture": SMALL.model_dump(mode="json")},
        {"architecture": SMALL.model_dump(mode="json") | {"code": "x"}, "provenance": {}},
        {"architecture": SMALL.model_dump(mode="json") | {"size": 0}, "provenance": {}},
        {"architecture": SMALL.model_dump(mode="json"), "provenance": 3},
    ],
)
def test_altered_header(file: Path, header: object) -> None:
    rewrite(file, header)
    with pytest.raises(ModelError, match="without secateur's header"):
        load_network(file)


@pytest.mark.parametrize("length", [0, 4, 100, 5000, -1])
def test_truncated_file(file: Path, length: int) -> None:
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(ModelError, match=r"network\.safetensors: not a safetensors file"):
        load_network(file)


def test_foreign_file(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(ModelError, match="without secateur's header"):
        load_network(path)
    with pytest.raises(ModelError, match="no such network file"):
        load_network(tmp_path / "none.safetensors")


class Mine:
    def __reduce__(self) -> object:
        return (pytest.fail, ("the file was unpickled",))


@pytest.mark.parametrize("name", ["renamed.safetensors", "weights.pth"])
def test_nothing_is_unpickled(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Mine()))
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_network(path)
    with pytest.raises(ModelError, match=f"{name}: not a safetensors file or a plain torch"):
        load_weights(build_ssd(SMALL), str(path), batch_norm=False)
    torch.save({"w": Mine()}, path)
    with pytest.raises(ModelError, match="not a safetensors file or a plain torch"):
        load_weights(build_ssd(SMALL), str(path), batch_norm=False)


def test_weights_of_a_network_for_other_classes(tmp_path: Path) -> None:
    other = build_ssd(SMALL.model_copy(update={"classes": ("a", "b", "c")}))
    torch.save(other.state_dict(), tmp_path / "other.pth")
    ssd = build_ssd(SMALL)
    unfilled = load_weights(ssd, str(tmp_path / "other.pth"), batch_norm=False)
    assert unfilled == [name for name in ssd.state_dict() if "classification" in name]
    assert torch.equal(ssd.backbone.scale_weight, other.backbone.scale_weight)
    first = convolutions(ssd)["conv1_1"]
    assert torch.equal(ssd.get_submodule(first).weight, other.get_submodule(first).weight)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_vgg16_fills_the_trunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_norm: bool
) -> None:
    """A slim VGG16 of the same layout stands in: it has just conv widths of a thirty-second."""
    narrow = [
        max(1, v // 32) if isinstance(v, int) else v for v in torchvision.models.vgg.cfgs["D"]
    ]
    monkeypatch.setitem(torchvision.models.vgg.cfgs, "D", narrow)
    features = torchvision.models.vgg.make_layers(narrow, batch_norm=batch_norm)
    state = {f"features.{name}": tensor for name, tensor in features.state_dict().items()}
    torch.save({**state, "classifier.0.weight": torch.zeros(2, 2)}, tmp_path / "vgg.pt")
    architecture = SMALL.model_copy(update={"batch_norm": batch_norm})
    ssd = build_ssd(architecture)
    unfilled = load_weights(ssd, str(tmp_path / "vgg.pt"), batch_norm=batch_norm)
    theirs = [layer for layer in features if isinstance(layer, torch.nn.Conv2d)]
    ours = [ssd.get_submodule(path) for path in convolutions(ssd).values()][:13]
    assert len(theirs) == 13
    assert all(torch.equal(a.weight, b.weight) for a, b in zip(theirs, ours, strict=True))
    if batch_norm:
        norms = [layer for layer in features if isinstance(layer, torch.nn.BatchNorm2d)]
        mine = [
            layer for layer in ssd.backbone.modules() if isinstance(layer, torch.nn.BatchNorm2d)
        ]
        norms[7].weight.data.fill_(3.0)
        torch.save(
            {f"features.{n}": t for n, t in features.state_dict().items()}, tmp_path / "b.pt"
        )
        load_weights(ssd, str(tmp_path / "b.pt"), batch_norm=True)
        assert [bool((n.weight == 3).all()) for n in mine].index(True) == 7
    filled = set(ssd.state_dict()) - set(unfilled)
    assert len(filled) == 13 * (7 if batch_norm else 2)
    other = build_ssd(SMALL.model_copy(update={"widths": dict.fromkeys(SMALL.widths, 50)}))
    with pytest.raises(ModelError, match=r"vgg\.pt: none of its weights fits"):
        load_weights(other, str(tmp_path / "vgg.pt"), batch_norm=batch_norm)


def test_weights_that_cannot_be_read(tmp_path: Path) -> None:
    ssd = build_ssd(SMALL)
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"weight": torch.zeros(7)}, tmp_path / "odd.pth")
    torch.save({"features.conv1_1.weight": torch.zeros(7)}, tmp_path / "named.pth")
    for source, message in {
        "list.pth": r"list\.pth: holds no state dict",
        "odd.pth": r"odd\.pth: none of its weights fits this network",
        "named.pth": r"named\.pth: none of its weights fits this network",
        "none.pth": r"none\.pth: no such file of weights",
    }.items():
        with pytest.raises(ModelError, match=message):
            load_weights(ssd, str(tmp_path / source), batch_norm=False)
    with pytest.raises(ModelError, match="torchvision has no such weights"):
        load_weights(ssd, "torchvision:SSD301_Weights.COCO", batch_norm=False)


def test_a_network_file_can_be_read_as_other_files_can(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    save_network(tmp_path / "a.safetensors", build_ssd(SMALL), SMALL, {})
    modes = {(tmp_path / name).stat().st_mode & 0o777 for name in ("a.safetensors", "other")}
    assert len(modes) == 1
