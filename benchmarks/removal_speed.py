"""Time the removal of half of the channels of a network, compared with Torch-Pruning.

``python benchmarks/removal_speed.py`` writes ``benchmarks/results/removal_speed.json``. Both
libraries get the same network with random weights and one picture of its size, find the channel
groups, rank channels by the L1 norms of their producers and consumers, and remove half of each
group; all of this is timed. The last layers keep their outputs: in secateur because they are the
network's outputs, in Torch-Pruning because they are listed as ignored. The libraries take turns.
Times are processor times of one thread, so other programs affect them little.

Torch-Pruning changes the network in place; secateur changes a copy. Neither verifies the result;
the time of ``verify_removal`` is listed separately. The first round of a process, in which torch
loads its tracer, is listed separately too.

``parts_s`` lists the time of each part; ``torch.export``, ``labels`` and ``trial cut`` are parts of
``graph``. The trace takes about half of secateur's time, whatever the size of the picture;
Torch-Pruning runs the network to trace it, which is fast where a forward pass is cheap.
"""

import argparse
import gc
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Literal
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torchvision.models import resnet50

from checks import Check, at_least, equal, print_checks
from published import CLASSES
from secateur.files.atomic_write import write_json
from secateur.models.cost import count_macs, count_params
from secateur.models.network import example_input, raw_network
from secateur.models.ssd import build_ssd, ssd_architecture
from secateur.pruning.baselines.torch_pruning import load_torch_pruning
from secateur.pruning.criteria.sparsity import channel_importance
from secateur.pruning.graph import trace as tracing
from secateur.pruning.graph.flow import Flow
from secateur.pruning.graph.groups import ChannelGraph
from secateur.pruning.graph.trace import channel_groups
from secateur.pruning.removal import remove_filters
from secateur.pruning.verification import verify_removal
from secateur.run.context import provenance

HERE = Path(__file__).parent
SEED = 20261201
TIMES_FASTER = 5.0

# Seconds by the name of a step.
Parts = dict[str, float]


def ssd(name: Literal["ssd300", "ssd512"]) -> tuple[nn.Module, Tensor]:
    """Build the network without decoding and NMS."""
    architecture = ssd_architecture(name, CLASSES)
    return raw_network(build_ssd(architecture)).eval(), example_input(architecture)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "ssd300": lambda: ssd("ssd300"),
    "ssd512": lambda: ssd("ssd512"),
    "resnet50": lambda: (resnet50().eval(), torch.zeros(1, 3, 224, 224)),
}


def half(graph: ChannelGraph, model: nn.Module) -> dict[str, Tensor]:
    """Select the more important half of each group."""
    tensors = dict(model.named_parameters())
    kept = {}
    for name, group in graph.prunable().items():
        order = channel_importance(group, tensors).argsort(descending=True, stable=True)
        kept[name] = group.channels_of(order[: group.units - group.units // 2])
    return kept


def ours(model: nn.Module, picture: Tensor) -> tuple[nn.Module, Parts]:
    """Prune with secateur: graph, selection and removal."""
    start = time.process_time()
    graph = channel_groups(model, picture)
    found = time.process_time()
    kept = half(graph, model)
    chosen = time.process_time()
    slim = remove_filters(model, graph, kept)
    cut = time.process_time()
    return slim, {"graph": found - start, "selection": chosen - found, "removal": cut - chosen}


def theirs(model: nn.Module, picture: Tensor) -> tuple[nn.Module, Parts]:
    """Prune with Torch-Pruning, whose pruner builds its graph when it is created."""
    package = load_torch_pruning()
    last = [
        module
        for path, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and path.startswith(("head", "fc"))
    ]
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a parameter outside of any module, which it handles
        pruner = package.pruner.BasePruner(
            model,
            (picture,),
            importance=package.importance.MagnitudeImportance(p=1),
            pruning_ratio=0.5,
            ignored_layers=last,
        )
        found = time.process_time()
        pruner.step()
    return model, {"graph": found - start, "selection_and_removal": time.process_time() - found}


@contextmanager
def clocks() -> Iterator[dict[str, float]]:
    """Time the parts of the channel graph."""
    seconds: dict[str, float] = defaultdict(float)

    def clocked(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            result = work(*args, **kwargs)
            seconds[name] += time.process_time() - start
            return result

        return timed

    with ExitStack() as stack:
        for owner, attribute, name in (
            (torch.export, "export", "torch.export"),
            (Flow, "run", "labels"),
            (tracing, "fix_breaking", "trial cut"),
        ):
            work = clocked(name, getattr(owner, attribute))
            stack.enter_context(patch.object(owner, attribute, work))
        yield seconds


def measure(build: Callable[[], tuple[nn.Module, Tensor]], rounds: int) -> dict[str, Any]:
    """Time both libraries on one kind of network, in turns."""
    sides = {"secateur": ours, "torch_pruning": theirs}
    parts: dict[str, list[Parts]] = {side: [] for side in sides}
    left: dict[str, dict[str, int]] = {}
    for turn in range(rounds + 1):
        for side in sorted(sides, reverse=bool(turn % 2)):
            torch.manual_seed(SEED)
            model, picture = build()
            gc.collect()  # otherwise one library pays for the garbage of the other
            with clocks() as inner:
                slim, times = sides[side](model, picture)
            parts[side].append(times | inner)
            left[side] = {"params": count_params(slim), "macs": count_macs(slim, picture)}
    model, picture = build()
    total = {side: [whole(each) for each in some] for side, some in parts.items()}
    ratios = [b / a for a, b in zip(total["secateur"], total["torch_pruning"], strict=True)]
    return {
        "dense": {"params": count_params(model), "macs": count_macs(model, picture)},
        "left": left,
        "first_s": {side: some[0] for side, some in total.items()},
        "seconds": {side: median(some[1:]) for side, some in total.items()},
        "parts_s": {
            side: {name: median(each[name] for each in some[1:]) for name in some[0]}
            for side, some in parts.items()
        },
        "proof_s": verification(model, picture),
        "times_s": {side: [round(each, 4) for each in some[1:]] for side, some in total.items()},
        # The ratio of each round, because the speed of the machine varies between rounds.
        "times_faster": median(ratios[1:]),
    }


def verification(model: nn.Module, picture: Tensor) -> float:
    """Time the verification of a removal."""
    graph = channel_groups(model, picture)
    kept = half(graph, model)
    slim = remove_filters(model, graph, kept)
    start = time.process_time()
    verify_removal(model, slim, graph, kept, torch.randn_like(picture))
    return time.process_time() - start


def whole(parts: Parts) -> float:
    """Sum the steps of a library, without their parts."""
    return sum(
        parts.get(name, 0.0) for name in ("graph", "selection", "removal", "selection_and_removal")
    )


def checks(networks: dict[str, dict[str, Any]]) -> list[Check]:
    """Compare the times with the target for SSD300, and the sizes with Torch-Pruning's."""
    faster = networks["ssd300"]["times_faster"]
    rows = [at_least("ssd300: times faster than Torch-Pruning", faster, TIMES_FASTER)]
    for name, result in networks.items():
        a, b = (result["left"][side]["params"] for side in ("secateur", "torch_pruning"))
        rows.append(equal(f"{name}: parameters left, relative to Torch-Pruning's", a / b, 1.0))
    return rows


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="counted rounds for each network")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "removal_speed.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    networks = {}
    for name, build in NETWORKS.items():
        networks[name] = measure(build, arguments.rounds)
        print(name, networks[name]["parts_s"], networks[name]["left"], flush=True)
    held = checks(networks)
    result = {
        "what": "half of the channels by L1, from a fresh network to the slim one; medians",
        "seed": SEED,
        "rounds": arguments.rounds,
        "networks": networks,
        "checks": held,
        "torch_pruning": version("torch-pruning"),
        "provenance": provenance(),
    }
    write_json(arguments.out, result)
    print_checks(held)


if __name__ == "__main__":
    main()
