"""Networks of many kinds are cut at every group that may be, and give what the masked ones give."""

import re
import runpy
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from zoo import NETWORKS, build

from secateur.models.cost import count_macs, count_params
from secateur.pruning.graph.groups import ChannelGraph
from secateur.pruning.graph.trace import channel_groups
from secateur.pruning.removal import remove_filters
from secateur.pruning.verification import verify_removal

torch.set_num_threads(1)
DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "networks.md"
MAKER = runpy.run_path(str(DOCS / "make_networks_page.py"))

# How many groups can be pruned.
GROUPS = {
    "ResNet-18": 12,
    "ResNet-50": 37,
    "MobileNetV3-Large": 30,
    "DenseNet-121": 120,
    "EfficientNet-B0": 40,
    "ConvNeXt-Tiny": 22,
    "GoogLeNet": 61,
    "ShuffleNetV2 0.5×": 20,  # all but what leaves the blocks of its third stage
    "SSDlite on MobileNetV3-Large": 37,
    "SSD on ResNet-18": 16,
    "U-Net, batch norm": 17,
    "U-Net, group norm": 17,
    "U-Net, instance norm": 17,
}

# Torch-Pruning 1.6.1 does not know layers that only training runs, and divides by zero over
# ShuffleNet's shuffles.
NOT_READ = {"GoogLeNet", "ShuffleNetV2 0.5×"}

# Layers whose coupling is compared with Torch-Pruning's.
LAYERS = (
    *(nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm),
    nn.InstanceNorm2d,
)


def half(graph: ChannelGraph) -> dict[str, Tensor]:
    """Keep about half the channels of every prunable group, by chance."""
    return {
        name: group.channels_of(torch.randperm(group.units)[: (group.units + 1) // 2])
        for name, group in graph.prunable().items()
    }


def of_groups(graph: ChannelGraph) -> object:
    return [
        (
            g.name,
            g.unit_of.tolist(),
            g.fixed,
            [(m.name, m.dim, m.role, m.index.tolist()) for m in g.members],
        )
        for g in graph.groups.values()
    ]


@pytest.mark.parametrize("name", NETWORKS)
def test_half_of_every_group_goes(name: str) -> None:
    model, x = build(name)
    graph = channel_groups(model, x)
    assert len(graph.prunable()) == GROUPS[name]
    selection = half(graph)
    slim = remove_filters(model, graph, selection)
    assert verify_removal(model, slim, graph, selection, x, tolerance=1e-4) < 1e-9
    left = {group: len(kept) for group, kept in selection.items()}
    assert graph.cost(left) == (count_params(slim), count_macs(slim, x))

    slim.train()
    outputs = torch.utils._pytree.tree_leaves(slim(torch.cat([x, -x])))
    sum(output.square().mean() for output in outputs).backward()
    assert all(parameter.grad is not None for parameter in slim.parameters())

    if name not in NOT_READ:
        for group, theirs in coupled_by_torch_pruning(model, x, graph).items():
            assert theirs == layers_of(model, graph, group), group

    model.requires_grad_(requires_grad=False)
    assert of_groups(channel_groups(model, x)) == of_groups(graph)
    row = MAKER["row"](name, model, graph)
    assert f"{row}\n" in PAGE.read_text("utf-8"), "run python docs/make_networks_page.py"


def test_page_has_a_row_for_each_network() -> None:
    text = PAGE.read_text("utf-8")
    assert text.startswith(MAKER["INTRODUCTION"]), "run python docs/make_networks_page.py"
    assert len(text.removeprefix(MAKER["INTRODUCTION"]).splitlines()) == len(NETWORKS)


def test_example_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    exec(code, {})  # noqa: S102 # our own
    assert "layer1.0.conv1 64 can be pruned" in capsys.readouterr().out


def layers_of(model: nn.Module, graph: ChannelGraph, name: str) -> set[str]:
    owners = {member.name.rpartition(".")[0] for member in graph.groups[name].members}
    return {owner for owner in owners if isinstance(model.get_submodule(owner), LAYERS)}


def coupled_by_torch_pruning(
    model: nn.Module, x: Tensor, graph: ChannelGraph
) -> dict[str, set[str]]:
    """Give the layers that Torch-Pruning couples to each group's first channel."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its imports and of its use of old torch names
        import torch_pruning  # noqa: PLC0415

        names = {module: name for name, module in model.named_modules()}
        theirs = torch_pruning.DependencyGraph().build_dependency(model.eval(), x)
        coupled = {}
        for name, group in graph.prunable().items():
            producer = group.of_role("producer")[0]
            layer = model.get_submodule(group.name)
            cut = theirs.get_pruner_of_module(layer).prune_out_channels
            positions = producer.index[0].tolist()
            dependencies = theirs.get_pruning_group(layer, cut, positions)
            coupled[name] = {
                names[d.target.module]
                for d, _ in dependencies
                if isinstance(d.target.module, LAYERS)
            }
    return coupled
