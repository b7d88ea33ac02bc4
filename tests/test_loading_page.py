"""The loaders of docs/loading.md give Secateur's own results without Secateur."""

import re
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models.detection.ssd import SSD

from secateur.models.network import example_input, raw_network
from secateur.models.network_file import load_network, save_network
from secateur.models.shapes import shrink_to_state
from secateur.models.ssd import build_ssd, ssd_architecture
from secateur.models.vgg import build_vgg, vgg_architecture
from secateur.pruning.graph.trace import channel_groups
from secateur.pruning.removal import remove_filters
from secateur.tasks.classification.prediction import class_scores
from secateur.tasks.detection.prediction import detect

PAGE = Path(__file__).parents[1] / "docs" / "loading.md"

# Architectures that reach every branch of the loader, and the shape of a picture to try each on.
NETWORKS = {
    "ssd300": (
        ssd_architecture("ssd300", ("a", "b"), widths=0.05, std=(0.3, 0.3, 0.3)),
        (300, 300),
    ),
    "two-layers": (
        ssd_architecture("ssd300", ("a",), size=96, detection_layers=2, widths={"conv6": 9}),
        (96, 96),
    ),
    "one-layer": (
        ssd_architecture("ssd300", ("a",), size=96, detection_layers=1, widths=0.05),
        (96, 96),
    ),
    "norm": (
        ssd_architecture(
            "ssd300",
            ("a", "b", "c"),
            size=128,
            batch_norm=True,
            detection_layers=4,
            widths=0.04,
            mean=(0.5, 0.4, 0.3),
            std=(0.2, 0.25, 0.3),
        ),
        (128, 128),
    ),
    "ssd512-native": (
        ssd_architecture(
            "ssd512", ("a",), resize=False, batch_norm=True, widths=0.04, std=(0.3, 0.3, 0.3)
        ),
        (320, 416),
    ),
}

RUN_LOADER = """
import sys
from safetensors.torch import load_file, save_file
folder = sys.argv[1]
for name in sys.argv[2:]:
    ssd, classes = load(f"{folder}/{name}.safetensors")
    with torch.no_grad():
        found = ssd([load_file(f"{folder}/{name}.picture")["picture"] / 255])[0]
    save_file(found, f"{folder}/{name}.found", {"classes": " ".join(classes)})
"""


def test_detector_loader_gives_the_same_without_secateur(tmp_path: Path) -> None:
    torch.manual_seed(0)
    expected = {}
    for name, (architecture, shape) in NETWORKS.items():
        ssd = build_ssd(architecture)
        _stir(ssd)
        slim = _slim(ssd, example_input(architecture))
        save_network(tmp_path / f"{name}.safetensors", slim, architecture, {"step": "test"})
        picture = torch.randint(0, 256, (3, *shape), dtype=torch.uint8)
        save_file({"picture": picture}, tmp_path / f"{name}.picture")
        with torch.no_grad():
            network = load_network(tmp_path / f"{name}.safetensors").model
            expected[name] = detect(network, picture[None])[0]

    loader = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S)[0]
    assert "secateur" not in re.sub(r'"secateur"', "", loader)
    script = tmp_path / "loader.py"
    script.write_text(f"import sys\nsys.modules['secateur'] = None\n{loader}\n{RUN_LOADER}")
    subprocess.run(
        [sys.executable, "-I", str(script), str(tmp_path), *NETWORKS],
        check=True,
        timeout=300,
    )

    for name, ours in expected.items():
        found = load_file(tmp_path / f"{name}.found")
        assert len(ours.boxes) > 0, name
        torch.testing.assert_close(found["boxes"], ours.boxes)
        torch.testing.assert_close(found["scores"], ours.scores)
        assert found["labels"].tolist() == ours.labels.tolist(), name


def test_classifier_loader_gives_the_same_without_secateur(tmp_path: Path) -> None:
    torch.manual_seed(0)
    networks = {
        "cifar": vgg_architecture(("a", "b", "c"), size=32, widths=0.1, hidden=(300,), pool=1),
        "torchvision": vgg_architecture(("a", "b"), size=64, batch_norm=False, widths=0.02),
        "plain": vgg_architecture(("a", "b"), size=64, widths={"conv5_3": 9}, hidden=(), pool=2),
    }
    expected = {}
    for name, architecture in networks.items():
        slim = _slim(build_vgg(architecture), example_input(architecture))
        save_network(tmp_path / f"{name}.safetensors", slim, architecture, {"step": "test"})
        side = architecture.size
        picture = torch.randint(0, 256, (3, side, side), dtype=torch.uint8)
        save_file({"picture": picture}, tmp_path / f"{name}.picture")
        expected[name] = class_scores(
            load_network(tmp_path / f"{name}.safetensors").model,
            picture[None],
            mean=architecture.mean,
            std=architecture.std,
            batch_size=1,
        )[0]
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    loader, use = blocks[2:4]
    assert "secateur" not in re.sub(r'"secateur"', "", loader)
    imports, _, answer = use.partition("\n\n")
    answer = answer.partition("with torch")[2].rpartition("\n")[0].rpartition("\n")[0]
    script = tmp_path / "loader.py"
    script.write_text(
        f"import sys\nsys.modules['secateur'] = None\n{loader}\n{imports}\n"
        "from safetensors.torch import load_file, save_file\n"
        "for name in sys.argv[2:]:\n"
        "    vgg, a = load(f'{sys.argv[1]}/{name}.safetensors')\n"
        "    picture = load_file(f'{sys.argv[1]}/{name}.picture')['picture']\n"
        f"    with torch{answer.replace(chr(10), chr(10) + '    ')}\n"
        "    save_file({'scores': scores}, f'{sys.argv[1]}/{name}.scores')\n"
    )
    subprocess.run(
        [sys.executable, "-I", str(script), str(tmp_path), *networks], check=True, timeout=300
    )
    for name, ours in expected.items():
        torch.testing.assert_close(load_file(tmp_path / f"{name}.scores")["scores"], ours)


def _slim(model: nn.Module, x: Tensor) -> nn.Module:
    """Remove different shares of the filters of each layer."""
    raw = raw_network(model)
    graph = channel_groups(raw, x)
    kept = {}
    for number, (name, group) in enumerate(graph.prunable().items()):
        kept[name] = torch.arange(group.channels)[: max(1, group.channels - 1 - number % 3)]
    assert len(kept) > 5
    slim = shrink_to_state(model, remove_filters(raw, graph, kept).state_dict())
    assert count(slim) < count(model)
    return slim


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _stir(ssd: SSD) -> None:
    """Give biases, norms and heads values that no two layers share."""
    for name, tensor in ssd.state_dict().items():
        if name.endswith("running_var"):
            nn.init.uniform_(tensor, 0.5, 1.5)
        elif name.endswith("scale_weight"):
            nn.init.uniform_(tensor, 10, 30)
        elif name.startswith("head.") and tensor.dim() > 1:
            nn.init.normal_(tensor, 0, 0.02)  # small: scores that are all 1 have no order
        elif name.endswith(("bias", "running_mean")):
            nn.init.normal_(tensor, 0, 0.2)
