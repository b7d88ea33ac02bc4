"""Speed of training: data, penalties, and the share of the machine's FLOP rate that is reached.

``python benchmarks/training_speed.py`` writes ``benchmarks/results/training_speed_cpu.json``, or
``…_cuda.json`` where there is a GPU. What is compared takes turns, step by step; all times are
medians. Pictures are noise and weights are untrained, since time does not depend on them.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile
from torchvision.models.detection import ssd300_vgg16

from checks import print_checks
from published import CLASSES, networks
from secateur.config.architecture import recipe_architecture
from secateur.config.recipe import load_recipe
from secateur.data.classification_set import ClassificationSet
from secateur.distributed.processes import open_fabric
from secateur.files.atomic_write import write_json
from secateur.models.cost import count_macs
from secateur.models.network import build_network, example_input, raw_network
from secateur.models.ssd import SSDArchitecture, build_ssd, ssd_architecture
from secateur.pruning.penalties.penalty import Penalties
from secateur.pruning.penalties.table import make_penalty
from secateur.run.context import provenance
from secateur.run.phases import network_groups
from secateur.tasks.classification.classifier import Classifier
from secateur.tasks.detection.loss import ssd_loss
from secateur.training.loop import Objective, train
from secateur.training.recorded_passes import record_passes
from secateur.training.schedule import Schedule, make_optimizer

HERE = Path(__file__).parent
SEED = 20261128
SCHEDULE = Schedule("sgd", 1e-3, 5e-4, 0.0, "constant")


def wait() -> None:
    """Wait for the GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(work: Callable[[], Any]) -> float:
    """Seconds that a function takes, including its work on the GPU."""
    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start


def make_fabric(*, bf16: bool = torch.cuda.is_available()) -> Fabric:
    """One device, with bf16 on a GPU."""
    return open_fabric(bf16=bf16)


def matrix_rate(device: torch.device) -> float:
    """FLOPs per second of a large matrix product, in bf16 on a GPU and in float32 on a CPU."""
    side, kind = (8192, torch.bfloat16) if device.type == "cuda" else (2048, torch.float32)
    a, b = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    times = [seconds(lambda: [a @ b for _ in range(10)]) for _ in range(4)]
    return 10 * 2 * side**3 / min(times)


def noise(count: int, classes: tuple[str, ...], size: int = 32) -> ClassificationSet:
    """Pictures of noise."""
    pixels = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8)
    names = tuple(str(number) for number in range(count))
    return ClassificationSet(classes, pixels, torch.randint(0, len(classes), (count,)), names)


def feed(device: torch.device, batches: int) -> dict[str, Any]:
    """Pictures per second from a cached set, augmented as for CIFAR-10."""
    recipe = load_recipe(Path("vgg16_cifar10"))
    task = Classifier(recipe.data, recipe.evaluate)  # type: ignore[arg-type]
    settings = recipe.train.model_copy(update={"steps": batches, "batch_size": 1024})
    dataset = noise(50_000, tuple("0123456789"))
    given = task.batches(dataset, None, settings, SEED, device)  # type: ignore[arg-type]
    iterator = iter(given)
    each = [seconds(lambda: next(iterator)) for _ in range(batches)]
    return {"batch_size": 1024, "pictures_per_second": 1024 / median(each[1:])}


def classifier(rate: float, batch_size: int, steps: int) -> dict[str, Any]:
    """Train VGG16 on pictures of CIFAR-10's shape as its recipe does, with data loading."""
    recipe = load_recipe(Path("vgg16_cifar10"))
    dataset = noise(10_000, tuple("0123456789"))
    architecture = recipe_architecture(recipe, dataset.classes)
    model = build_network(architecture)
    macs = count_macs(raw_network(model), example_input(architecture))
    fabric = make_fabric()
    task = Classifier(recipe.data, recipe.evaluate)  # type: ignore[arg-type]
    settings = recipe.train.model_copy(update={"steps": steps, "batch_size": batch_size})
    batches = task.batches(dataset, architecture, settings, SEED, fabric.device)  # type: ignore[arg-type]
    ends: list[float] = []
    train(
        fabric,
        model,
        task.loss(architecture),  # type: ignore[arg-type]
        batches,
        SCHEDULE,
        on_step=lambda _step, _loss: ends.append(time.perf_counter()),
    )
    step = median(after - before for before, after in pairwise(ends[2:]))
    return {
        "batch_size": batch_size,
        "step_s": step,
        "pictures_per_second": batch_size / step,
        "flops_per_picture": 3 * 2 * macs,
        "share_of_matrix_rate": 3 * 2 * macs * batch_size / step / rate,
    }


class Steps:
    """Training steps of a network on one batch, with or without a penalty."""

    def __init__(
        self, fabric: Fabric, model: nn.Module, loss: Callable[..., Tensor], batch: tuple[Any, ...]
    ) -> None:
        model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        whole = Objective(model, loss)
        self.model = fabric.setup_module(whole)
        if fabric.device.type == "cuda":  # as in training
            record_passes(whole, batch, bf16=True)
        self.fabric = fabric
        self.bare = make_optimizer(model, SCHEDULE)
        self.optimizer = fabric.setup_optimizers(self.bare)
        self.batch = batch

    def __call__(self, penalty: Penalties | None = None) -> None:
        """Take one step."""
        self.fabric.backward(self.model(*self.batch))
        if penalty:
            penalty.before_step(self.bare)
        self.optimizer.step()  # type: ignore[call-arg]
        if penalty:
            penalty.after_step(self.bare)
        self.optimizer.zero_grad()


def detector_batch(size: int, batch_size: int, device: torch.device) -> tuple[Any, ...]:
    """Pictures of noise with five boxes each."""
    pictures = torch.randint(0, 256, (batch_size, 3, size, size), dtype=torch.uint8, device=device)
    corner = torch.rand(batch_size, 5, 2, device=device) * 0.6 * size
    sides = (0.1 + 0.3 * torch.rand(batch_size, 5, 2, device=device)) * size
    labels = torch.randint(1, len(CLASSES) + 1, (batch_size, 5), device=device)
    return pictures, torch.cat([corner, corner + sides], -1), labels


def penalty_cost(batch_size: int, rounds: int) -> dict[str, Any]:
    """A step of SSD300 with each penalty compared with a step without, in turns."""
    fabric = make_fabric()
    model, architecture = ssd("dense")
    graph = network_groups(model, architecture)
    penalties = {
        "proximal": make_penalty(raw_network(model), graph, strength=1e-6),
        "proximal_and_group": make_penalty(
            raw_network(model), graph, strength=1e-6, group_strength=1e-6
        ),
        "subgradient": make_penalty(raw_network(model), graph, kind="subgradient", strength=1e-6),
    }
    step = Steps(fabric, model, ssd_loss, detector_batch(300, batch_size, fabric.device))
    for _ in range(2):
        step()
    times: dict[str, list[float]] = {"none": [], **{name: [] for name in penalties}}
    for _ in range(rounds):
        for name, found in times.items():
            found.append(seconds(lambda name=name: step(penalties.get(name))))  # type: ignore[misc]
    # The ratio of each round, so that a temporarily slow machine does not matter.
    ratios = {
        name: median(a / b for a, b in zip(times[name], times["none"], strict=True))
        for name in penalties
    }
    return {"batch_size": batch_size, "step_s": median(times["none"]), "times_as_long": ratios}


def ssd(name: str) -> tuple[nn.Module, SSDArchitecture]:
    """SSD300: dense, with the paper's widths, or with those rounded."""
    torch.manual_seed(SEED)
    architecture = ssd_architecture("ssd300", CLASSES, widths=networks()[name])
    return build_ssd(architecture), architecture


def detectors(rate: float, batch_size: int, rounds: int) -> dict[str, Any]:
    """Pictures per second of SSD300, dense and slim, in training and in inference."""
    fabric = make_fabric()
    batch = detector_batch(300, batch_size, fabric.device)
    steps = {n: Steps(fabric, ssd(n)[0], ssd_loss, batch) for n in ("dense", "slim", "rounded")}
    raw = {}
    for name in steps:
        module = raw_network(ssd(name)[0]).eval().to(fabric.device)
        kind = torch.bfloat16 if fabric.device.type == "cuda" else torch.float32
        raw[name] = module.to(dtype=kind, memory_format=torch.channels_last)  # type: ignore[call-overload]
    like = torch.randn(batch_size, 3, 300, 300, device=fabric.device, dtype=kind)
    like = like.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        runs = {name: inference(module, like) for name, module in raw.items()}
        times: dict[str, dict[str, list[float]]] = {"training": {}, "inference": {}}
        for turn in range(rounds + 2):
            for name, step in steps.items():
                with torch.inference_mode(False):
                    trained = seconds(step)
                ran = seconds(runs[name])
                if turn >= 2:
                    times["training"].setdefault(name, []).append(trained)
                    times["inference"].setdefault(name, []).append(ran)
    found: dict[str, Any] = {
        kind: {name: batch_size / median(some) for name, some in each.items()}
        for kind, each in times.items()
    }
    flops = {n: 3 * 2 * count_macs(module, like[:1]) for n, module in raw.items()}
    found["share_of_matrix_rate"] = {
        name: found["training"][name] * flops[name] / rate for name in flops
    }
    return {"batch_size": batch_size, **found}


def against_plain(rounds: int) -> dict[str, Any]:
    """Training steps compared with those of torchvision's reference training, in turns.

    SSD300 with 20 classes, and VGG16 for CIFAR-10. The plain steps use torchvision's loss and
    transform and the default memory format. Our steps are measured in bf16 too: some processors
    have matrix units for it, others are slower.
    """
    cpu = torch.device("cpu")
    batch = detector_batch(300, 4, cpu)
    targets = [{"boxes": b, "labels": n} for b, n in zip(batch[1], batch[2], strict=True)]
    recipe = load_recipe(Path("vgg16_cifar10"))
    architecture = recipe_architecture(recipe, tuple("0123456789"))
    pictures = noise(64, tuple("0123456789"))
    loss = Classifier(recipe.data, recipe.evaluate).loss(architecture)  # type: ignore[arg-type]
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (architecture.mean, architecture.std))
    sides: dict[str, dict[str, Callable[[], None]]] = {
        "ssd300": {
            "plain": PlainSteps(
                ssd300_vgg16(weights=None, weights_backbone=None, num_classes=len(CLASSES) + 1),
                lambda net: sum(net([each / 255 for each in batch[0]], targets).values()),
            )
        },
        "vgg16": {
            "plain": PlainSteps(
                build_network(architecture),
                lambda net: cross_entropy(
                    net((pictures.pixels / 255 - mean) / std), pictures.labels
                ),
            )
        },
    }
    for name, bf16 in (("ours", False), ("ours_bf16", True)):
        fabric = make_fabric(bf16=bf16)
        sides["ssd300"][name] = Steps(fabric, ssd("dense")[0], ssd_loss, batch)
        sides["vgg16"][name] = Steps(
            fabric, build_network(architecture), loss, (pictures.pixels, pictures.labels)
        )
    return {
        "ssd300": in_turns(sides["ssd300"], len(batch[0]), rounds),
        "vgg16": in_turns(sides["vgg16"], len(pictures.pixels), rounds),
    }


def in_turns(sides: dict[str, Callable[[], None]], size: int, rounds: int) -> dict[str, Any]:
    """Pictures per second of each side, and how many times faster than plain it is."""
    times: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(rounds + 1):
        for side, step in sides.items():
            spent = seconds(step)
            if turn:
                times[side].append(spent)
    return {
        "batch_size": size,
        "pictures_per_second": {side: size / median(some) for side, some in times.items()},
        # The ratio of each round, so that a temporarily slow machine does not matter.
        "times_faster": {
            side: median(a / b for a, b in zip(times["plain"], some, strict=True))
            for side, some in times.items()
            if side != "plain"
        },
    }


def shares(batch_size: int) -> dict[str, float]:
    """The operators that take most of the time of a step of SSD300, and their shares."""
    fabric = make_fabric()
    model, _ = ssd("dense")
    step = Steps(fabric, model, ssd_loss, detector_batch(300, batch_size, fabric.device))
    step()
    cuda = fabric.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as watched:
        for _ in range(3):
            step()
        wait()
    key = "self_device_time_total" if cuda else "self_cpu_time_total"
    spent = {each.key: float(getattr(each, key)) for each in watched.key_averages()}
    total = sum(spent.values())
    most = sorted(spent, key=lambda name: -spent[name])[:8]
    return {name: spent[name] / total for name in most}


class PlainSteps:
    """Training steps in plain PyTorch."""

    def __init__(self, model: nn.Module, loss: Callable[[nn.Module], Any]) -> None:
        self.model, self.loss = model.train(), loss
        self.optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def __call__(self) -> None:
        """Take one step."""
        self.optimizer.zero_grad()
        self.loss(self.model).backward()
        self.optimizer.step()


def inference(module: nn.Module, pictures: Tensor) -> Callable[[], Any]:
    """A forward pass; on a GPU the replay of a CUDA graph."""
    if pictures.device.type != "cuda":
        return lambda: module(pictures)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            module(pictures)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        module(pictures)
    return graph.replay


def parts(cuda: bool) -> Iterator[tuple[str, Callable[[float], Any]]]:
    """The measurements on a GPU or on a CPU."""
    device = torch.device("cuda" if cuda else "cpu")
    yield "feed", lambda _rate: feed(device, 40 if cuda else 12)
    yield (
        "vgg16",
        lambda rate: [
            classifier(rate, size, 60 if cuda else 6) for size in ((128, 512) if cuda else (64,))
        ],
    )
    yield "penalty", lambda _rate: penalty_cost(32 if cuda else 8, 15 if cuda else 4)
    yield "ssd300", lambda rate: detectors(rate, 32 if cuda else 4, 12 if cuda else 2)
    yield "shares_of_ssd300", lambda _rate: shares(32 if cuda else 4)
    if not cuda:
        yield "plain", lambda _rate: against_plain(4)


def main() -> None:
    """Measure, check and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="of the result, if not benchmarks/results/…")
    arguments = parser.parse_args()
    cuda = torch.cuda.is_available()
    torch.manual_seed(SEED)
    result: dict[str, Any] = {"seed": SEED, "provenance": provenance()}
    rate = matrix_rate(torch.device("cuda" if cuda else "cpu"))
    result["matrix_rate_flops"] = rate
    for name, part in parts(cuda):
        result[name] = part(rate)
        print(name, result[name], flush=True)
    worst = max(result["penalty"]["times_as_long"][name] for name in ("proximal", "subgradient"))
    result["checks"] = [
        {
            "name": "time of a step with proximal or subgradient penalty, of one without",
            "value": worst,
            "target": 1.02,
            "met": worst <= 1.02,
        }
    ]
    for name, found in result.get("plain", {}).items():
        value = max(found["times_faster"].values())
        result["checks"].append(
            {
                "name": f"{name} in its faster precision: times faster than plain torchvision",
                "value": value,
                "target": 1.5,
                "met": value >= 1.5,
            }
        )
    if cuda:
        value = result["feed"]["pictures_per_second"]
        result["checks"].append(
            {
                "name": "32 × 32 pictures a second from a cached set",
                "value": value,
                "target": 1e5,
                "met": value >= 1e5,
            }
        )
    print_checks(result["checks"])
    target = HERE / "results" / f"training_speed_{'cuda' if cuda else 'cpu'}.json"
    write_json(arguments.out or target, result)


if __name__ == "__main__":
    main()
