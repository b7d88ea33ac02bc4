"""Write docs/networks.md: python docs/make_networks_page.py."""

import re
import runpy
from collections import Counter
from pathlib import Path

from torch import nn

from secateur.pruning.graph.trace import ChannelGraph, channel_groups

HERE = Path(__file__).parent

INTRODUCTION = """\
# Networks

Secateur cuts any network that `torch.export` can trace. It reads the trace, finds which channels
have to go together, and says of every layer whether it may be pruned, and if not, why. What it does
not understand it leaves whole. To ask it about a network of yours:

```python
import secateur, torch, torchvision

model = torchvision.models.resnet18()
graph = secateur.channel_groups(model, torch.zeros(1, 3, 224, 224))
for name, group in graph.groups.items():
    print(name, group.channels, group.fixed or "may be pruned")
```

The example inputs are a tensor, a tuple of arguments, or a mapping of them by name, with lists and
dicts in them as the network takes them. Their values
do not matter here, but `compress` proves removals on them. The network may be in any mode,
and frozen or not; it is left as it was.

## What is understood

- Convolutions of one to three dimensions, transposed, grouped and depthwise ones, linear layers.
- Sums and products of maps, squeeze-and-excitation, gates, scales, learned positions.
- Concatenations along channels or positions, stacks, equal chunks, gated linear units.
- Batch and instance norm; layer norm over positions; group norm, which loses whole groups.
- All activations and dropouts of torch; pooling, resizing and padding of positions.
- Flattening before a linear layer: a channel is then a block of columns. Linear features laid out
  as maps by `view(b, -1, h, w)`.
- Pixel shuffle and unshuffle, channel shuffle by torch's operator, unfold.
- A layer that is used several times, and a module under two names.

In a grouped convolution every group loses the same channels, so that all stay equal. Channels that
meet in a sum go together or not at all.

## What is fixed

| reason given | why |
|---|---|
| the network's input, the network's output | others count on them |
| … works on all its channels together | layer norm, softmax, a group norm of one group |
| … reduces over channels | a mean or maximum, which sees some go |
| … takes channels by their positions | `x[:, :8]` takes others once some are gone |
| its channels are mixed with positions | a channel is no whole slice, as in ShuffleNet's shuffle |
| its weights are computed | weight norm, or a weight made in the forward pass |
| … and … are one tensor | of two layers: cut for one it would be cut for the other |
| … meets values that belong to no channel | made in the forward pass, an entry for each channel |
| the operator … is not known to keep channels apart | matrix products, indexing, your own |
| the forward pass counts on all of these channels | a count in the code, `x.view(b, 32, h, w)` |
| the forward pass in training counts on all … | the same of a head that only training runs |
| the forward pass computes with the number … | `x / x.shape[1] ** 0.5`: write the number instead |
| … is a buffer that no file of the network holds | one that is not persistent; make it so |

Counts in the code are found by running the network with fewer channels, in shapes alone, which
takes next to no time. Layer norms are fixed because what is left would have other statistics.

A matrix product fixes the channels that it reads, so of a transformer only the inner layers of its
perceptrons are pruned.

## Tried on

Each network below is cut in a test: half the channels of every group that may be pruned, drawn by
chance, are taken out; the slim network gives what the masked one gives, to 1e-9 of the output in
double precision, and trains. The layers found to go together are those that Torch-Pruning 1.6.1
finds; it cannot read ShuffleNet.

*Groups*: how many may be pruned, of how many there are. *Parameters prunable*: the share of the
network's parameters that make or read channels of such groups. Behind each reason: how many groups.

This page is made by `python docs/make_networks_page.py`; change it there.

| network | parameters | groups | parameters prunable | fixed, and why |
|---|---:|---:|---:|---|
"""


def row(name: str, model: nn.Module, graph: ChannelGraph) -> str:
    """Give a network's line of the table."""
    sizes = {path: parameter.numel() for path, parameter in model.named_parameters()}
    free = graph.prunable()
    cut = {m.name for g in free.values() for m in g.members if m.role != "follower"}
    share = sum(size for path, size in sizes.items() if path in cut) / sum(sizes.values())
    # One reason of many places: layer_norm_3 and layer_norm_5 are both layer_norm.
    fixed = [
        re.sub(r"^([a-z_]+?\d*d?)_\d+\b", r"\1", g.fixed) for g in graph.groups.values() if g.fixed
    ]
    reasons = "; ".join(f"{reason} ({count})" for reason, count in Counter(fixed).items())
    cells = (
        name,
        f"{sum(sizes.values()) / 1e6:.1f} M",
        f"{len(free)} of {len(graph.groups)}",
        f"{share:.0%}",
        reasons,
    )
    return "| " + " | ".join(cells) + " |"


def page() -> str:
    """Give the whole page."""
    zoo = runpy.run_path(str(HERE.parent / "tests" / "pruning" / "zoo.py"))
    lines = []
    for name in zoo["NETWORKS"]:
        model, x = zoo["build"](name)
        lines.append(row(name, model, channel_groups(model, x)) + "\n")
    return INTRODUCTION + "".join(lines)


if __name__ == "__main__":
    (HERE / "networks.md").write_text(page(), encoding="utf-8")
