"""Network files: round trips, and files that are not what they say."""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import secateur
from secateur.errors import ModelError
from secateur.models.architecture import Architecture
from secateur.models.cost import count_params
from secateur.models.layer_costs import layer_costs
from secateur.models.module_file import load_model, shrink_to
from secateur.models.network import build_network, layer_widths, raw_network
from secateur.models.network_file import load_network, read_structure, save_network
from secateur.models.shapes import shrink_to_state
from secateur.models.ssd import build_ssd, convolutions, ssd_architecture
from secateur.models.vgg import build_vgg, vgg_architecture
from secateur.models.weights import load_weights
from secateur.pruning.graph.trace import channel_groups
from secateur.pruning.removal import remove_filters

torch.set_num_threads(1)
WIDE = ssd_architecture("ssd300", ("stop", "yield"), size=96, detection_layers=3, widths=1 / 16)
VGG = vgg_architecture(("a", "b"), size=32, widths=1 / 16, hidden=(64,), pool=1)
SMALL = ssd_architecture("ssd300", ("stop", "yield"), size=96, detection_layers=3, widths=1 / 32)


def header_of(architecture: Architecture, **changes: Any) -> dict[str, Any]:
    arguments = architecture.model_dump(mode="json", exclude={"network"}) | changes
    return {
        "version": 2,
        "builder": architecture.network,
        "arguments": arguments,
        "provenance": {},
    }


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
    assert same_tensors(loaded.model, ssd)
    assert [path.name for path in tmp_path.iterdir()] == ["n.safetensors"]


def same_tensors(a: nn.Module, b: nn.Module) -> bool:
    wanted, given = a.state_dict(), b.state_dict()
    return list(wanted) == list(given) and all(torch.equal(wanted[n], given[n]) for n in wanted)


def slimmed(model: nn.Module, x: torch.Tensor) -> nn.Module:
    """Every second channel of each prunable group removed; for an SSD, of its raw network."""
    raw = raw_network(model)
    graph = channel_groups(raw, x)
    kept = {
        name: group.channels_of(torch.arange(group.units)[1::2])
        for name, group in graph.prunable().items()
    }
    assert len(kept) >= 8
    return remove_filters(raw, graph, kept)


@pytest.mark.parametrize("architecture", [WIDE, VGG], ids=lambda a: str(a.network))
def test_round_trip_of_a_slim_network(tmp_path: Path, architecture: Architecture) -> None:
    torch.manual_seed(0)
    x, path = torch.rand(1, 3, architecture.size, architecture.size), tmp_path / "slim.safetensors"
    dense = build_network(architecture).eval()
    raw = slimmed(dense, x)
    slim = shrink_to_state(dense, raw.state_dict())
    save_network(path, slim, architecture, {"step": "phase1-remove"})
    (header,) = [json.loads(safe_open(path, "pt").metadata()["secateur"])]
    assert header == header_of(architecture) | {"provenance": {"step": "phase1-remove"}}
    loaded = load_network(path)
    assert loaded.architecture == architecture
    assert same_tensors(loaded.model, slim)
    with torch.no_grad():
        given, wanted = raw_network(loaded.model)(x), raw(x)
    assert len(tree_leaves(given)) == len(tree_leaves(wanted)) >= 1
    assert all(map(torch.equal, tree_leaves(given), tree_leaves(wanted)))
    full, halved = layer_widths(dense), layer_widths(loaded.model)
    assert halved == layer_widths(slim)
    assert halved["conv3_2"] == full["conv3_2"] // 2
    structure = read_structure(path)
    assert all(tensor.is_meta for tensor in structure.model.state_dict().values())
    assert layer_widths(structure.model) == halved
    assert layer_costs(structure.model, architecture) == layer_costs(slim, architecture)
    assert sum(each.params for each in layer_costs(slim, architecture).values()) == count_params(
        raw
    )


def test_a_loaded_detector_finds_what_the_saved_one_found(tmp_path: Path) -> None:
    torch.manual_seed(0)
    dense = build_network(WIDE).eval()
    slim = shrink_to_state(dense, slimmed(dense, torch.rand(1, 3, 96, 96)).state_dict())
    save_network(tmp_path / "slim.safetensors", slim, WIDE, {})
    image = torch.rand(3, 80, 120)
    with torch.no_grad():
        (wanted,), (given,) = (
            slim([image]),
            load_network(tmp_path / "slim.safetensors").model([image]),
        )
    assert len(wanted["boxes"]) > 0
    assert all(torch.equal(wanted[name], given[name]) for name in wanted)


def test_files_of_version_1_are_read(file: Path) -> None:
    """Their architecture had the slim network's own widths, which its tensors have too."""
    wanted = load_network(file).model
    rewrite(file, {"architecture": SMALL.model_dump(mode="json"), "provenance": {"run": "old"}})
    loaded = load_network(file)
    assert (loaded.architecture, loaded.provenance) == (SMALL, {"run": "old"})
    assert same_tensors(loaded.model, wanted)
    rewrite(file, {"architecture": None, "provenance": {}})
    with pytest.raises(ModelError, match=r"load it into an instance with secateur\.shrink_to"):
        load_network(file)
    assert same_tensors(shrink_to(wanted, file), wanted)


def test_a_network_that_is_not_its_architectures_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot have been cut from"):
        save_network(tmp_path / "n.safetensors", build_ssd(WIDE), SMALL, {})
    assert list(tmp_path.iterdir()) == []


def resnet() -> nn.Module:
    return torchvision.models.resnet18(num_classes=3)


def test_round_trip_of_a_slim_resnet(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x, path = torch.rand(1, 3, 32, 32), tmp_path / "slim.safetensors"
    slim = slimmed(resnet().eval(), x).eval()
    secateur.save(path, slim, builder="torchvision.models:resnet18", arguments={"num_classes": 3})
    for loaded in (
        load_model(path, torchvision.models.resnet18),
        load_model(path, allow_import=True),
        shrink_to(resnet(), path).eval(),
    ):
        assert same_tensors(loaded, slim)
        assert not loaded.training
        with torch.no_grad():
            assert torch.equal(loaded(x), slim(x))
    for refusing in (load_network, load_model):
        with pytest.raises(
            ModelError, match=r"'torchvision\.models:resnet18', .* allow_import=True"
        ):
            refusing(path)
    with pytest.raises(
        ModelError, match=r"cannot have been cut from .*; build the model as the dense"
    ):
        load_model(
            path, lambda num_classes: torchvision.models.resnet18(num_classes=num_classes - 1)
        )
    with pytest.raises(ModelError, match=r"does not take its arguments: .*num_classes"):
        load_model(path, resnet)
    with pytest.raises(ModelError, match="write module:function"):
        secateur.save(path, slim, builder="resnet18")
    secateur.save(path, slim, builder="torchvision.models:resnet19")
    with pytest.raises(
        ModelError, match=r"builder 'torchvision.models:resnet19' cannot be imported"
    ):
        load_model(path, allow_import=True)


class Versioned(nn.Module):
    """Its state dicts have a version, and those of version 1 hold half of the scale."""

    _version = 2

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 1)
        self.scale = nn.Parameter(torch.full((4, 1, 1), 3.0))

    def forward(self, x: Tensor) -> Tensor:
        scaled: Tensor = self.layer(x) * self.scale
        return scaled

    def _load_from_state_dict(self, state: Any, prefix: str, metadata: Any, *rest: Any) -> None:
        if metadata.get("version", 1) < self._version:
            state[f"{prefix}scale"] = 2 * state[f"{prefix}scale"]
        super()._load_from_state_dict(state, prefix, metadata, *rest)


def test_a_file_is_of_the_versions_that_its_classes_have(tmp_path: Path) -> None:
    path = tmp_path / "slim.safetensors"
    secateur.save(path, Versioned())
    assert shrink_to(Versioned(), path).scale.flatten().tolist() == [3.0] * 4
    state = load_file(path)
    assert shrink_to_state(Versioned(), state).scale.flatten().tolist() == [3.0] * 4
    old = Versioned().state_dict()
    old._metadata[""] = {"version": 1}  # type: ignore[attr-defined]
    assert shrink_to_state(Versioned(), old).scale.flatten().tolist() == [6.0] * 4


def test_a_mnasnet_is_loaded(tmp_path: Path) -> None:
    """It refuses a state dict without a version."""
    path = tmp_path / "slim.safetensors"
    network = torchvision.models.mnasnet0_5(num_classes=2)
    secateur.save(path, network)
    assert same_tensors(shrink_to(torchvision.models.mnasnet0_5(num_classes=2), path), network)


def test_any_file_is_loaded_as_a_model(file: Path) -> None:
    assert same_tensors(load_model(file), load_network(file).model)


def rewrite(path: Path, header: object) -> None:
    save_file(load_file(path), path, {"format": "pt", "secateur": json.dumps(header)})


def test_header_that_does_not_fit_the_weights(file: Path) -> None:
    narrower = ssd_architecture(
        "ssd300", SMALL.classes, size=96, detection_layers=3, widths={**SMALL.widths, "conv3_1": 7}
    )
    rewrite(file, header_of(narrower))
    with pytest.raises(
        ModelError,
        match=r"network\.safetensors: .*features\.10\.bias is \[8\], and cannot have been cut from "
        r"the model's \[7\]; the file was altered; write it again",
    ):
        load_network(file)


@pytest.mark.parametrize(
    "header",
    [
        {},
        [],
        None,
        {"architecture": {}, "provenance": {}},
        {"architecture": SMALL.model_dump(mode="json")},
        {"architecture": SMALL.model_dump(mode="json"), "provenance": 3},
        {"architecture": SMALL.model_dump(mode="json"), "provenance": {}, "version": 2},
        header_of(SMALL) | {"version": 0},
        header_of(SMALL) | {"version": True},
        header_of(SMALL) | {"version": "2"},
        header_of(SMALL) | {"builder": ["ssd300"]},
        header_of(SMALL) | {"arguments": []},
        header_of(SMALL) | {"provenance": None},
        header_of(SMALL) | {"code": "x"},
        {name: value for name, value in header_of(SMALL).items() if name != "builder"},
    ],
)
def test_altered_header(file: Path, header: object) -> None:
    rewrite(file, header)
    with pytest.raises(ModelError, match="without secateur's header; give one that"):
        load_network(file)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (header_of(SMALL, code="x"), "does not describe a network ssd300; the file was altered"),
        (header_of(SMALL, size=0), "does not describe a network ssd300; the file was altered"),
        (header_of(SMALL) | {"builder": "vgg16"}, "does not describe a network vgg16"),
        (
            {"architecture": SMALL.model_dump(mode="json") | {"size": 0}, "provenance": {}},
            "does not describe a network ssd300",
        ),
        (header_of(VGG), r"lacks features\.0\.weight; the file was altered"),
        (
            header_of(SMALL) | {"builder": "ssd9\n"},
            r"builder 'ssd9\\n' is not among ssd300, ssd512",
        ),
        (header_of(SMALL) | {"version": 3}, "header of version 3, and .* up to 2; update secateur"),
        ({"version": 3, "graph": []}, "header of version 3, and .* up to 2; update secateur"),
        (
            header_of(SMALL) | {"builder": "os:system"},
            r"load_model\(path, factory\) or, for a file ",
        ),
        (
            header_of(SMALL) | {"builder": None},
            r"load it into an instance with secateur\.shrink_to",
        ),
    ],
)
def test_header_of_another_network(file: Path, header: object, message: str) -> None:
    rewrite(file, header)
    with pytest.raises(ModelError, match=rf"network\.safetensors: .*{message}") as error:
        load_network(file)
    with pytest.raises(ModelError, match=message):
        read_structure(file)
    assert "\n" not in str(error.value)


CONV = "backbone.features.0.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({CONV: torch.zeros(3, 3, 3, 3)}, f"{CONV} is [3, 3, 3, 3], and cannot have been cut from"),
        ({CONV: torch.zeros(2, 3, 5, 3)}, f"{CONV} is [2, 3, 5, 3], and cannot have been cut from"),
        ({CONV: torch.zeros(0, 3, 3, 3)}, f"{CONV} is [0, 3, 3, 3], and cannot have been cut from"),
        ({CONV: torch.zeros(2, 3, 9)}, f"{CONV} has 3 dimensions, the model's 4"),
        ({CONV: torch.zeros(1, 3, 3, 3)}, "the shapes of its tensors do not fit each other"),
        ({CONV: None}, f"lacks {CONV}"),
        ({"head.more": torch.zeros(1)}, "has head.more, which the model lacks"),
    ],
)
def test_shapes_that_no_removal_leaves(
    file: Path, change: dict[str, torch.Tensor | None], message: str
) -> None:
    tensors = {**load_file(file), **change}
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, file, {"secateur": json.dumps(header_of(SMALL))})
    with pytest.raises(ModelError, match=re.escape(message)) as error:
        load_network(file)
    assert str(error.value).endswith("; the file was altered; write it again")


def test_norms_of_other_widths_than_their_layers(tmp_path: Path) -> None:
    path = tmp_path / "vgg.safetensors"
    save_network(path, build_vgg(VGG), VGG, {})
    cut = {
        n: t[:1] if n.startswith("features.1.") and t.dim() else t
        for n, t in load_file(path).items()
    }
    save_file(cut, path, {"secateur": json.dumps(header_of(VGG))})
    with pytest.raises(ModelError, match="the shapes of its tensors do not fit each other"):
        load_network(path)


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
        load_weights(build_ssd(SMALL), str(path))
    torch.save({"w": Mine()}, path)
    with pytest.raises(ModelError, match="not a safetensors file or a plain torch"):
        load_weights(build_ssd(SMALL), str(path))


def test_weights_of_a_network_for_other_classes(tmp_path: Path) -> None:
    other = build_ssd(SMALL.model_copy(update={"classes": ("a", "b", "c")}))
    torch.save(other.state_dict(), tmp_path / "other.pth")
    ssd = build_ssd(SMALL)
    unfilled = load_weights(ssd, str(tmp_path / "other.pth"))
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
    unfilled = load_weights(ssd, str(tmp_path / "vgg.pt"))
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
        load_weights(ssd, str(tmp_path / "b.pt"))
        assert [bool((n.weight == 3).all()) for n in mine].index(True) == 7
    filled = set(ssd.state_dict()) - set(unfilled)
    assert len(filled) == 13 * (7 if batch_norm else 2)
    other = build_ssd(SMALL.model_copy(update={"widths": dict.fromkeys(SMALL.widths, 50)}))
    with pytest.raises(ModelError, match=r"vgg\.pt: none of its weights fits"):
        load_weights(other, str(tmp_path / "vgg.pt"))


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
            load_weights(ssd, str(tmp_path / source))
    with pytest.raises(ModelError, match="torchvision has no such weights"):
        load_weights(ssd, "torchvision:SSD301_Weights.COCO")


def test_a_network_file_can_be_read_as_other_files_can(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    save_network(tmp_path / "a.safetensors", build_ssd(SMALL), SMALL, {})
    modes = {(tmp_path / name).stat().st_mode & 0o777 for name in ("a.safetensors", "other")}
    assert len(modes) == 1
