"""Write docs/networks.md: python docs/make_networks_page.py."""

import re
import runpy
from collections import Counter
from pathlib import Path

from torch import nn

from secateur.pruning.graph.groups import ChannelGraph
from secateur.pruning.graph.trace import channel_groups

HERE = Path(__file__).parent

INTRODUCTION = """\
# Networks

Secateur prunes any network that `torch.export` can trace. It reads the trace, finds which channels
must be removed together, and says for every layer whether it can be pruned, and if not, why. Layers
that it does not understand are not changed. 300 networks of torchvision, timm,
segmentation_models_pytorch and ultralytics were cut by half and verified:
[results.md](results.md#networks-of-other-projects-benchmarksnetworkspy). To inspect a network of
yours:

```python
import secateur, torch, torchvision

model = torchvision.models.resnet18()
graph = secateur.channel_groups(model, torch.zeros(1, 3, 224, 224))
for name, group in graph.groups.items():
    print(name, group.channels, group.fixed or "can be pruned")
```

The example inputs are a tensor, a tuple of arguments, or a mapping of arguments by name, with lists
and dicts inside as the network expects. Their values do not matter here, but `compress` verifies
removals on them. The network may be in train or eval mode, and frozen or not; it is not changed.

## What is understood

- Convolutions of one to three dimensions, also transposed, grouped, depthwise and deformable;
  linear layers, also over positions; embeddings; matrix products and `einsum` with a parameter.
- Weights that are computed from parameters: weight norm, spectral norm (both of torch's forms),
  standardised weights, sums and products with other parameters.
- The input side of LSTM, GRU and RNN; their own units are not removed.
- Sums and products of maps, squeeze-and-excitation, gates, scales, learned positions.
- Concatenations along channels or positions, stacks, equal chunks, gated linear units.
- Parts whose sizes are read off a tensor, as `x[:, : x.shape[1] // 2]`, and views such as a channel
  shuffle's and a split attention's: every part loses the same channels.
- Batch and instance norm; group norm, which loses whole groups.
- Statistics over channels: layer norm and root mean square norm, also written by hand, a group norm
  of one group, global response normalisation; means, norms, deviations, maxima and minima.
- All activations and dropouts of torch; pooling, resizing and padding of positions; grid sampling,
  pooling of regions of interest.
- Flattening before a linear layer: a channel is then a block of columns. Linear features reshaped
  to maps, by `view(b, -1, h, w)` or with sizes that are read off a tensor.
- Pixel shuffle and unshuffle, channel shuffle by torch's operator or by a buffer that holds the
  order, unfold.
- A layer that is used several times, and a module under two names; layers that only training runs,
  such as auxiliary heads.

In a grouped convolution every group loses the same number of channels, so all stay equal. Channels
that meet in a sum are removed together or not at all. What can only be removed together is a *unit*
of `group.units`; `group.channels`, `min_filters`, `round_to` and every report count filters.

A statistic over channels, such as a layer norm's, is computed over the channels that are left. The
slim network is therefore compared with one whose removed channels are omitted from these
statistics, and not with one in which they are zero.

## What is fixed

| reason given | explanation |
|---|---|
| the network's input, the network's output | their number of channels is part of the interface |
| … works on all its channels together | softmax, running sums |
| … reduces over channels | a product, the position of a maximum |
| … takes channels by their positions | `x[:, :8]` takes others after a removal |
| its channels are mixed with positions | a channel is not one slice of the tensor |
| its channels could only be removed all together | such as in a chain of channel shuffles |
| its weights are computed | in a way that is not known, or from the input |
| … mixes positions | a product over positions, the same for every channel |
| … and … are one tensor | of two layers: a cut for one would be a cut for the other |
| … meets values that belong to no channel | made in the forward pass, one entry per channel |
| the operator … is not known to keep channels apart | products of maps, indexing, your own |
| the forward pass counts on all of these channels | a number in the code, `x.view(b, 32, h, w)` |
| the forward pass in training counts on all … | the same, in code that only training runs |
| the forward pass computes with the number … | `x / x.shape[1] ** 0.5`: write the number instead |
| … is a buffer that no file of the network holds | a non-persistent buffer; make it persistent |
| the size of … depends on data | `nonzero`, a boolean index, `unique` or NMS reads them |

Numbers in the code are found by running the network with fewer channels, on shapes alone, which
takes almost no time. Networks that take parts of channels are also traced a second time without
some of them, and every value must have the expected shape.

A matrix product of two maps fixes the channels that it reads, so of a transformer only the inner
layers of its MLPs are pruned.

A weight norm gives every filter a length of its own, which the penalty and the threshold work on.
The direction of a filter has no magnitude and is not made sparse.

## Tested networks

Each network below is cut in a test: half the channels of every prunable group, chosen at random,
are removed. The slim network's output equals the masked one's to 1e-9 of the output in double
precision, and the slim network trains. The groups of layers equal those that Torch-Pruning 1.6.1
finds, except for ShuffleNet, which it cannot read, and GoogLeNet, whose heads it does not trace.

*Groups*: how many of the network's groups can be pruned. *Parameters prunable*: the share of the
network's parameters that produce or read channels of such groups. The number after each reason
counts groups.

`python docs/make_networks_page.py` writes this page; change it there.

| network | parameters | groups | parameters prunable | fixed, and why |
|---|---:|---:|---:|---|
"""


def row(name: str, model: nn.Module, graph: ChannelGraph) -> str:
    """Return a network's line of the table."""
    sizes = {path: parameter.numel() for path, parameter in model.named_parameters()}
    free = graph.prunable()
    cut = {m.name for g in free.values() for m in g.members if m.role != "follower"}
    share = sum(size for path, size in sizes.items() if path in cut) / sum(sizes.values())
    # Counted together: layer_norm_3 and layer_norm_5 are both layer_norm.
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
    """Return the whole page."""
    zoo = runpy.run_path(str(HERE.parent / "tests" / "pruning" / "zoo.py"))
    lines = []
    for name in zoo["NETWORKS"]:
        model, x = zoo["build"](name)
        lines.append(row(name, model, channel_groups(model, x)) + "\n")
    return INTRODUCTION + "".join(lines)


if __name__ == "__main__":
    (HERE / "networks.md").write_text(page(), encoding="utf-8")
