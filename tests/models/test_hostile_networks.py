"""Network and weight files that are not what they say: refused before memory is taken."""

import io
import json
import pickle
import resource
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from commands import Outcome, one_error
from secateur.errors import ModelError
from secateur.models.architecture import Architecture
from secateur.models.module_file import save, shrink_to
from secateur.models.network import layer_widths
from secateur.models.network_file import load_network, save_network
from secateur.models.ssd import build_ssd, ssd_architecture
from secateur.models.vgg import build_vgg, vgg_architecture
from secateur.models.weights import load_weights, read_state
from secateur.runtimes.header import ExportHeader

torch.set_num_threads(1)
SMALL = ssd_architecture("ssd300", ("stop", "yield"), size=96, detection_layers=1, widths=1 / 64)
VGG = vgg_architecture(("a", "b"), size=32, widths=0.001, hidden=(), pool=1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "network.safetensors"
    save_network(path, build_ssd(SMALL), SMALL, {})
    return path


def raw_file(path: Path, header: bytes, length: int | None = None, payload: bytes = b"") -> None:
    """A safetensors file of any header, which may lie about its length."""
    size = len(header) if length is None else length
    path.write_bytes(struct.pack("<Q", size) + header + payload)


def tensor(shape: list[int], end: int, kind: str = "F32") -> bytes:
    return json.dumps({"x": {"dtype": kind, "shape": shape, "data_offsets": [0, end]}}).encode()


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (b"{}", 2**63),
        (b"{}", 2**40),
        (b"{}", 99_999_999),
        (tensor([2**31, 2**31], 4), None),
        (tensor([2**62, 4], 0), None),
        (tensor([-1], 4), None),
        (tensor([1], 2**50), None),
        (tensor([0, 2**62], 0), None),
        (tensor([1], 4, "F99"), None),
        (b"[" * 100_000, None),
        (b'{"x":' * 20_000, None),
        (b"\xff" * 50, None),
        (b'{"__metadata__": {"secateur": 5}}', None),
    ],
)
def test_crafted_headers(tmp_path: Path, header: bytes, length: int | None) -> None:
    path = tmp_path / "x.safetensors"
    raw_file(path, header, length)
    tracemalloc.start()
    with pytest.raises(ModelError, match=r"x\.safetensors: ") as error:
        load_network(path)
    with pytest.raises(ModelError, match=r"x\.safetensors: "):
        shrink_to(nn.Linear(1, 1), path)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()
    assert "\n" not in str(error.value)


def header(architecture: Architecture, **changes: Any) -> str:
    arguments = architecture.model_dump(mode="json", exclude={"network"}) | changes
    content = {"version": 2, "builder": architecture.network, "arguments": arguments}
    return json.dumps(content | {"provenance": {}})


def rewrite(path: Path, text: str) -> None:
    save_file(load_file(path), path, {"secateur": text})


WRONG: list[dict[str, Any]] = [
    {"size": 10**9},
    {"size": 4097},
    {"widths": dict.fromkeys(SMALL.widths, 2**17)},
    {"widths": dict.fromkeys(SMALL.widths, 10**30)},
    {"aspect_ratios": [[0]]},
    {"aspect_ratios": [[-2]]},
    {"aspect_ratios": [[2] * 1000]},
    {"scales": [0, 0.2]},
    {"scales": [float("inf"), 0.2]},
    {"std": [0, 1, 1]},
    {"mean": [float("nan"), 0, 0]},
    {"detection_layers": 10**9},
    {"classes": ["\ud800", "b"]},
]


@pytest.mark.parametrize("change", WRONG)
def test_architectures_that_cannot_be(file: Path, change: dict[str, Any]) -> None:
    rewrite(file, header(SMALL, **change))
    with pytest.raises(ModelError, match=r"header does not describe a network ssd300|without sec"):
        load_network(file)


@pytest.mark.parametrize("change", [{"size": 5000}, {"pool": 10**6}, {"dropout": float("nan")}])
def test_classifiers_that_cannot_be(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "vgg.safetensors"
    save_network(path, build_vgg(VGG), VGG, {})
    rewrite(path, header(VGG, **change))
    with pytest.raises(ModelError, match=r"header does not describe a network vgg16|without sec"):
        load_network(path)


def test_wide_architecture_of_a_narrow_file(file: Path) -> None:
    """The dense network, of over 1 TB, takes no memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wide = ssd_architecture(
        "ssd300", ("a", "b"), size=96, widths=dict.fromkeys(SMALL.widths, 2**16), detection_layers=1
    )
    rewrite(file, header(wide))
    loaded = load_network(file)
    assert loaded.architecture == wide
    assert layer_widths(loaded.model) == SMALL.widths
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kB"


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"architecture":' * 10_000,
        '{"architecture": null, "provenance": NaN}',
        '{"version": 2, "builder": null, "provenance": {"a": NaN}}',
    ],
)
def test_deep_headers(file: Path, text: str) -> None:
    rewrite(file, text)
    with pytest.raises(ModelError, match="without secateur's header"):
        load_network(file)
    assert ExportHeader.parse(text) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.fill_(float("nan")), "has values that are not finite"),
        (lambda t: t.fill_(float("inf")), "has values that are not finite"),
        (lambda t: t.to(torch.complex64), "has dtype C64, which weights cannot have"),
        (lambda t: t > 0, "has dtype BOOL, which weights cannot have"),
        (lambda t: t.to(torch.float8_e4m3fn), "has dtype F8_E4M3, which weights cannot have"),
    ],
)
def test_weights_that_are_none(
    file: Path, change: Callable[[torch.Tensor], torch.Tensor], message: str
) -> None:
    weights = load_file(file)
    name = next(iter(weights))
    save_file({**weights, name: change(weights[name])}, file, {"secateur": header(SMALL)})
    with pytest.raises(ModelError, match=message):
        load_network(file)


def test_the_command_line_says_so_in_one_line(
    tmp_path: Path, secateur: Callable[..., Outcome]
) -> None:
    path = tmp_path / "x.safetensors"
    raw_file(path, tensor([2**31, 2**31], 4))
    for command in (
        ["inspect", path],
        ["detect", path, path, "--out", tmp_path / "out"],
        ["export", path],
    ):
        one_error(secateur(*command), path)


# ---- torch files --------------------------------------------------------------------------------


def test_torch_files_that_unpack_to_many_times_their_size(tmp_path: Path) -> None:
    path, packed = tmp_path / "w.pth", tmp_path / "packed.pth"
    torch.save({"0.weight": torch.zeros(2_000_000)}, path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert packed.stat().st_size < 100_000
    assert len(read_state(str(path))) == 1
    with pytest.raises(ModelError, match=r"packed\.pth: not a safetensors file or a plain torch"):
        read_state(str(packed))


def test_torch_files_of_odd_tensors(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    path = tmp_path / "w.pth"
    torch.save({5: torch.zeros(2)}, path)
    with pytest.raises(ModelError, match=r"w\.pth: holds no state dict"):
        load_weights(model, str(path))
    torch.save({"weight": torch.empty(2, 2, device="meta")}, path)
    with pytest.raises(ModelError, match=r"w\.pth: holds tensors that cannot be copied"):
        load_weights(model, str(path))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("weight", lambda t: t.index_fill(0, torch.tensor(1), torch.nan), "values that are not"),
        ("weight", lambda t: t * torch.inf, "values that are not finite"),
        ("weight", lambda t: t.double() * 1e300, "values that are not finite"),  # in float32
        ("bias", lambda t: t.to(torch.int8), "is of type int8"),
        ("bias", lambda t: t.to(torch.int64), "is of type int64"),
        ("bias", lambda t: t > 0, "is of type bool"),
        ("bias", lambda t: t.to(torch.complex64), "is of type complex64"),
        ("running_mean", lambda t: t - torch.inf, "values that are not finite"),
        ("running_var", lambda t: -t, "has negative variances"),
        ("num_batches_tracked", lambda t: t.double(), "is of type float64"),
        ("num_batches_tracked", lambda t: t > 0, "is of type bool"),
    ],
)
def test_weights_that_no_training_gives(
    tmp_path: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor], message: str
) -> None:
    path = tmp_path / "w.pth"
    state = nn.BatchNorm1d(3).state_dict()
    for kind in (torch.float16, torch.bfloat16, torch.float64):  # of more or of fewer bits
        torch.save({n: t.to(kind) if t.is_floating_point() else t for n, t in state.items()}, path)
        assert load_weights(nn.BatchNorm1d(3), str(path), whole=True) == []
    torch.save({**state, name: change(state[name])}, path)
    model = nn.BatchNorm1d(3)
    with pytest.raises(ModelError, match=rf"w\.pth: .*{message}") as error:
        load_weights(model, str(path))
    assert "\n" not in str(error.value)
    assert all(torch.equal(t, state[n]) for n, t in model.state_dict().items()), "is unchanged"


def test_variances_of_a_network_file_are_not_negative(tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    made = ssd_architecture(
        "ssd300", ("stop",), size=96, detection_layers=1, widths=1 / 64, batch_norm=True
    )
    model = build_ssd(made)
    save_network(path, model, made, {})
    load_network(path)
    next(each for name, each in model.named_buffers() if name.endswith("running_var")).neg_()
    save_network(path, model, made, {})
    with pytest.raises(ModelError, match=r"running_var has negative variances; write the file"):
        load_network(path)


def test_downloaded_weights_are_not_unpickled_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def download(_url: str, **options: Any) -> dict[str, torch.Tensor]:
        asked.update(options)
        return {}

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    read_state("torchvision:SSD300_VGG16_Weights.COCO_V1")
    assert asked == {"check_hash": True, "weights_only": True}


def test_pickles_are_no_networks(tmp_path: Path) -> None:
    file = io.BytesIO()
    pickle.dump({"a": 1}, file)
    (tmp_path / "x.safetensors").write_bytes(file.getvalue())
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_network(tmp_path / "x.safetensors")


def test_slim_files_of_odd_tensors(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save(path, nn.Linear(2, 2))
    raw_file(
        path,
        b'{"weight":{"dtype":"F6_E2M3","shape":[2,2],"data_offsets":[0,3]},'
        b'"bias":{"dtype":"F32","shape":[2],"data_offsets":[3,11]}}',
        payload=bytes(11),
    )
    with pytest.raises(ModelError, match=r"mine\.safetensors: "):
        shrink_to(nn.Linear(2, 2), path)
