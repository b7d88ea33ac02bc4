"""The code of docs/library.md runs, and its loader needs torch alone."""

import inspect
import re
import subprocess
import sys
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import secateur

torch.set_num_threads(1)

PAGE = (Path(__file__).parents[1] / "docs" / "library.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)
(LOADER,) = (block for block in BLOCKS if "def load_slim" in block)

# A network with every kind of layer that the loader names, and one tensor under two names.
NETWORK = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.apart = nn.ConvTranspose2d(6, 12, 2, groups=6)
        self.groups = nn.GroupNorm(12, 12)
        self.one_group = nn.GroupNorm(1, 12)
        self.free_group = nn.GroupNorm(1, 12, affine=False)
        self.instance = nn.InstanceNorm2d(12, affine=True)
        self.tracked = nn.InstanceNorm2d(12, track_running_stats=True)
        self.free = nn.InstanceNorm2d(12)
        self.free_batch = nn.BatchNorm2d(12, affine=False)
        self.hidden = nn.Linear(12, 10)
        self.layer_norm = nn.LayerNorm(10)
        self.between = nn.Linear(10, 6)
        self.twice = nn.Linear(6, 6)
        self.again = nn.Linear(6, 6)
        self.again.weight = self.twice.weight
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        x = self.apart(self.up(self.depthwise(x)).relu())
        x = self.one_group(self.groups(x).relu())
        x = self.free_batch(self.free(self.tracked(self.instance(self.free_group(x)))))
        x = self.layer_norm(self.hidden(x.mean((2, 3)))).relu()
        x = self.between(x)
        return self.head(self.again(self.twice(x).relu()))
"""

RUN_LOADER = """
with torch.no_grad():
    x = torch.load(sys.argv[2], weights_only=True)
    torch.save(load_slim(Net(), sys.argv[1])(x), sys.argv[3])
"""


def test_loader_gives_the_same_network_with_torch_alone(tmp_path: Path) -> None:
    assert len([line for line in LOADER.splitlines() if line.strip()]) <= 30
    space: dict[str, Any] = {}
    exec(NETWORK, space)  # noqa: S102 # the text is ours, and is run by the loader's process too
    torch.manual_seed(0)
    net = space["Net"]()
    x = torch.randn(2, 3, 8, 8)
    net(x)  # so that the norm's statistics are not the initial ones
    graph = secateur.channel_groups(net, x)
    kept = {
        name: group.channels_of(torch.arange(group.units)[1::2])
        for name, group in graph.prunable().items()
    }
    assert {"stem", "up", "hidden"} <= kept.keys()
    slim = secateur.remove_filters(net, graph, kept).eval()
    assert slim.depthwise.groups == 4
    path, picture, given = (tmp_path / n for n in ("slim.safetensors", "x.pt", "y.pt"))
    secateur.save(path, slim)
    torch.save(x, picture)

    # Neither can be imported in that process: an entry of None raises ImportError.
    away = "import sys, warnings\nsys.modules['secateur'] = sys.modules['safetensors'] = None\n"
    away += "warnings.simplefilter('error')\n"
    script = tmp_path / "loader.py"
    script.write_text(f"{away}\n{NETWORK}\n{LOADER}\n{RUN_LOADER}")
    subprocess.run(
        [sys.executable, "-I", str(script), str(path), str(picture), str(given)],
        check=True,
        timeout=300,
    )
    with torch.no_grad():
        expected = slim(x)
    torch.testing.assert_close(torch.load(given, weights_only=True), expected, rtol=0, atol=1e-6)


def test_loader_reads_every_kind_of_number_and_refuses_another_network(tmp_path: Path) -> None:
    space: dict[str, Any] = {}
    exec(LOADER, space)  # noqa: S102
    model = nn.Module()
    for name, kind in space["KINDS"].items():
        model.register_buffer(name, torch.zeros(2, 3).to(kind))
    model.register_buffer("none", torch.zeros(0))
    model.register_buffer("one", torch.zeros(()))
    wanted = {n: torch.arange(6).view(2, 3).to(k) for n, k in space["KINDS"].items()}
    wanted |= {"none": torch.zeros(0), "one": torch.tensor(3.0)}
    save_file(wanted, tmp_path / "kinds.safetensors", {"secateur": "{}"})
    state = space["load_slim"](model, tmp_path / "kinds.safetensors").state_dict()
    for name, tensor in load_file(tmp_path / "kinds.safetensors").items():
        assert state[name].dtype == tensor.dtype
        assert torch.equal(state[name], tensor), name
    with pytest.raises(AssertionError, match="of another network"):
        space["load_slim"](nn.Linear(1, 1), tmp_path / "kinds.safetensors")


class MyNet(nn.Module):
    """A network with the layers that the page names."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.layer1 = nn.Sequential(*(nn.Conv2d(a, b, 1) for a, b in pairwise((16, 24, 16))))
        self.layer2 = nn.Sequential(*(nn.Conv2d(a, b, 1) for a, b in pairwise((16, 32, 24))))
        self.head = nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(self.stem(x).relu()).relu())
        return self.head(x.mean((2, 3)))


def test_every_piece_of_code_on_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    batches = [(torch.randn(4, 3, 8, 8), torch.randint(4, (4,))) for _ in range(2)]
    space: dict[str, Any] = {
        "MyNet": MyNet,
        "net": MyNet(),
        "model": MyNet(),  # the reference script's
        "device": "cpu",
        "pictures": batches[0][0],
        "batches": batches,
        "epochs": 1,
        "accuracy": lambda _: 90.0,
    }
    for block in BLOCKS:
        reference = {"optimizer": torch.optim.SGD(space["model"].parameters(), lr=0.1)}
        here = {**space, **reference} if "device=device" in block else space
        exec(compile(block, "library.md", "exec"), here)  # noqa: S102
    assert space["result"].slim.params <= 0.3 * space["result"].dense.params
    assert (tmp_path / "slim.safetensors").is_file()


SETTINGS = (
    secateur.Goal,
    secateur.Method,
    secateur.PenaltySettings,
    secateur.ThresholdSettings,
    secateur.SelectionSettings,
    secateur.RemovalSettings,
    secateur.Calibration,
)


def test_the_page_names_every_setting() -> None:
    names = set(inspect.signature(secateur.compress).parameters)
    names -= {"model", "example_inputs", "goal"}
    names |= {field.name for each in SETTINGS for field in fields(each)}
    assert {name for name in names if f"`{name}" not in PAGE and f"{name}=" not in PAGE} == set()


def test_defaults_on_the_page_are_those_of_the_settings() -> None:
    """Each row of the table has the default beside the setting's name."""
    rows = re.findall(r"^\| (?:… )?`(?:\w+=\w+\()?(\w+)(?:=…\))?` \| (\S+) ", PAGE, re.M)
    shown = {name: value.strip('`"') for name, value in rows}
    for settings in SETTINGS[1:6]:
        for field in fields(settings):
            default = field.default
            if isinstance(default, bool):
                assert shown[field.name] == f"{str(default).lower()},", field.name
            elif isinstance(default, int | float | str):
                assert shown[field.name] == f"{default}".removesuffix(".0"), field.name
