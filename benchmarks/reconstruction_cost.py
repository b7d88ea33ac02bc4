"""Time and memory of cutting and reconstructing networks at full width, without training.

``python benchmarks/reconstruction_cost.py`` cuts SSD300 and ResNet-50 to half of their MACs and
reconstructs them from 64 pictures of noise, each in a process of its own, and writes
``benchmarks/results/reconstruction_cost.json``. What the pictures show does not change the cost.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import resnet50

from checks import at_most, print_checks
from secateur.benchmark.memory import before, since
from secateur.files.atomic_write import write_json
from secateur.models.network import build_network, example_input, raw_network
from secateur.models.ssd import ssd_architecture
from secateur.pruning.graph.trace import channel_groups
from secateur.pruning.penalties.penalty import Penalties
from secateur.pruning.phase import Network, Phase, Size, remove
from secateur.pruning.selection.budget import Budget
from secateur.pruning.selection.goal import Goal
from secateur.pruning.settings import Method, RemovalSettings, SelectionSettings
from secateur.run.context import provenance

HERE = Path(__file__).parent
PICTURES, BATCH = 64, 4
MOST_MINUTES, MOST_GIB = 10.0, 6.0
CLASSES = tuple(f"class{number}" for number in range(20))


def ssd300() -> tuple[nn.Module, Tensor]:
    """SSD300 with 20 classes."""
    architecture = ssd_architecture("ssd300", CLASSES)
    return raw_network(build_network(architecture)).eval(), example_input(architecture)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "ssd300": ssd300,
    "resnet50": lambda: (resnet50().eval(), torch.zeros(1, 3, 224, 224)),
}


class Noise:
    """Gives pictures, and trains nothing."""

    def __init__(self, shape: torch.Size) -> None:
        self.shape = shape

    def inputs(self, model: nn.Module, batches: int) -> Iterator[Tensor]:  # noqa: ARG002
        """The same noise each time."""
        generator = torch.Generator().manual_seed(0)
        for _ in range(PICTURES // BATCH):
            yield torch.randn(BATCH, *self.shape[1:], generator=generator)

    def losses(self, model: nn.Module, batches: int) -> None:
        """None."""

    def train(self, model: nn.Module, penalty: Penalties) -> None:
        """Nothing is trained."""


def measure(name: str) -> dict[str, Any]:
    """Cut and reconstruct in this process."""
    torch.manual_seed(0)
    held = before()
    model, example = NETWORKS[name]()
    start = time.perf_counter()
    graph = channel_groups(model, example)
    method = Method(
        selection=SelectionSettings("reconstruction"),
        removal=RemovalSettings(pictures=PICTURES),
        training=False,
    )
    goal, budget = Goal(keep_macs=0.5), Budget(macs=0.5 * graph.cost()[1])
    phase = Phase(1, tuple(graph.prunable()), goal, method, budget)
    network = Network(model, graph, torch.randn_like(example))
    removed = remove(network, network, phase, Size(budget), Noise(example.shape))
    seconds = time.perf_counter() - start
    memory = since(held)
    found = removed.reconstruction
    return {
        "minutes": seconds / 60,
        "gib": memory.in_all / 2**30 if memory else None,
        "reconstructed": len(found.errors) if found else 0,
        "skipped": found.skipped if found else {},
        "kept": sum(removed.counts.values()),
    }


def main() -> None:
    """Measure each network in a new process, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(NETWORKS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments.only)))
        return
    networks, checks = {}, []
    for name in NETWORKS:
        command = [sys.executable, __file__, "--only", name]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        networks[name] = row = json.loads(run.stdout.splitlines()[-1])
        print(name, row, flush=True)
        checks += [
            at_most(f"{name}: minutes", row["minutes"], MOST_MINUTES),
            at_most(f"{name}: GiB, with Python and torch", row["gib"], MOST_GIB),
        ]
    result = {
        "pictures": PICTURES,
        "networks": networks,
        "provenance": provenance(),
        "checks": checks,
    }
    write_json(HERE / "results" / "reconstruction_cost.json", result)
    print_checks(checks)


if __name__ == "__main__":
    main()
