"""SSD300 at the widths of the paper, and at rounded widths."""

import torch

from secateur.models.cost import count_macs
from secateur.models.network import example_input, raw_network
from secateur.models.ssd import FULL_WIDTHS, build_ssd, layer_names, ssd_architecture

STEP = 16  # rounded widths are multiples of this
CLASSES = tuple(f"class{number}" for number in range(1, 21))  # as many as Pascal VOC has

# Filters of conv1_1 to conv11_2 in the paper's Table 1, pruned-6det.
PRUNED_6DET = (
    *(64, 56, 107, 121, 193, 158, 195, 263, 181, 331, 98, 108, 78, 146, 106),
    *(34, 198, 12, 36, 22, 41, 22, 66),
)


def networks() -> dict[str, dict[str, int]]:
    """Widths of each network, by its name."""
    names = layer_names("ssd300", 6)
    slim = dict(zip(names, PRUNED_6DET, strict=True))
    return {
        "dense": {name: FULL_WIDTHS[name] for name in names},
        "slim": slim,
        "rounded": rounded(slim),
    }


def rounded(widths: dict[str, int]) -> dict[str, int]:
    """Round widths to multiples, without exceeding the original MACs."""
    found = {name: max(STEP, STEP * round(n / STEP)) for name, n in widths.items()}
    # Reduce the widths first that rounding enlarged by the largest factor.
    order = sorted(widths, key=lambda name: widths[name] / found[name])
    most = macs(widths)
    for name in order:
        if macs(found) <= most:
            break
        found[name] = max(STEP, STEP * (widths[name] // STEP))
    return found


def macs(widths: dict[str, int]) -> int:
    """Count the MACs of an SSD300."""
    architecture = ssd_architecture("ssd300", CLASSES, widths=widths)
    with torch.device("meta"):
        ssd = build_ssd(architecture)
        return count_macs(raw_network(ssd), example_input(architecture))
