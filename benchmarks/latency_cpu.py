"""Time SSD300 at the paper's pruned widths against SSD300, on ONNX Runtime and OpenVINO.

``python benchmarks/latency_cpu.py`` writes ``benchmarks/results/latency_cpu.json``. The networks
have fresh weights, for time does not depend on them: SSD300 at full widths, at the widths of the
paper's pruned-6det (Table 1), and at those widths rounded to multiples of 16, to the nearest but
for as many down as keep the multiply-adds at no more than the paper's. The last one is also
written with 8 bits, calibrated on drawn pictures. All are timed in one run, turn and turn about,
one picture at a time.
"""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from checks import tell
from secateur.benchmarking.benchmark import Benchmark, Measurement, benchmark
from secateur.console import ConsoleReporter, open_console, show_benchmark
from secateur.exporting.pictures import drawn_pictures
from secateur.exporting.source import load_source
from secateur.exporting.target import Target, described
from secateur.exporting.writing import write_file
from secateur.measuring import count_macs
from secateur.models.network import example_input, raw_network
from secateur.models.network_file import save_network
from secateur.models.ssd import FULL_WIDTHS, build_ssd, layer_names, ssd_architecture
from secateur.whole_file import write_json

HERE = Path(__file__).parent
SEED = 20261124
STEP = 16
CLASSES = tuple(f"class{number}" for number in range(1, 21))  # as many as Pascal VOC's

# Filters of conv1_1 to conv11_2 in the paper's Table 1, pruned-6det.
PRUNED_6DET = (
    *(64, 56, 107, 121, 193, 158, 195, 263, 181, 331, 98, 108, 78, 146, 106),
    *(34, 198, 12, 36, 22, 41, 22, 66),
)


def networks() -> dict[str, dict[str, int]]:
    """Widths of each network by its name."""
    names = layer_names("ssd300", 6)
    slim = dict(zip(names, PRUNED_6DET, strict=True))
    return {
        "dense": {name: FULL_WIDTHS[name] for name in names},
        "slim": slim,
        "rounded": rounded(slim),
    }


def rounded(widths: dict[str, int]) -> dict[str, int]:
    """Round to multiples, and stay within the multiply-adds."""
    found = {name: max(STEP, STEP * round(n / STEP)) for name, n in widths.items()}
    # First those down that were rounded up by the largest share.
    order = sorted(widths, key=lambda name: widths[name] / found[name])
    most = macs(widths)
    for name in order:
        if macs(found) <= most:
            break
        found[name] = max(STEP, STEP * (widths[name] // STEP))
    return found


def macs(widths: dict[str, int]) -> int:
    """Count the multiply-adds of an SSD300."""
    architecture = ssd_architecture("ssd300", CLASSES, widths=widths)
    with torch.device("meta"):
        ssd = build_ssd(architecture)
        return count_macs(raw_network(ssd), example_input(architecture))


def write_networks(folder: Path) -> list[str]:
    """Write all the files that are timed."""
    torch.manual_seed(SEED)
    files = []
    for name, widths in networks().items():
        architecture = ssd_architecture("ssd300", CLASSES, widths=widths)
        path = folder / f"{name}.safetensors"
        save_network(path, build_ssd(architecture), architecture, {"network": name})
        files.append(str(path))
    model = files[-1]
    source = load_source(model)
    pictures = drawn_pictures((300, 300))
    for target in (Target("onnx", "int8"), Target("openvino", "int8")):
        path = target.file_for(model)
        write_file(source, path, target, described(source, target), pictures)
        files.append(str(path))
    return files


def checks(measured: Benchmark) -> list[dict[str, Any]]:
    """Hold the ratios against what is promised of them."""
    found: dict[tuple[str, str], Measurement] = {
        (Path(each.model).name, each.runtime): each for each in measured.measurements
    }
    rows = []
    for runtime, eight in (("onnxruntime", "rounded.int8.onnx"), ("openvino", "rounded.int8.xml")):
        rounded = found["rounded.safetensors", runtime]
        share = (rounded.network_times_faster or 0) / (rounded.times_fewer_macs or 1)
        rows.append((f"{runtime}: rounded, times faster ÷ times fewer MACs", share, 0.9))
        int8 = found[eight, runtime].network_times_faster or 0
        rows.append((f"{runtime}: rounded with 8 bits, times faster than dense", int8, 7.5))
    return [
        {"name": name, "value": value, "target": target, "met": value >= target}
        for name, value, target in rows
    ]


def main() -> None:
    """Write the networks, time them and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/latency_cpu"))
    parser.add_argument("--seconds", type=float, default=30.0, help="for each network and runtime")
    arguments = parser.parse_args()
    console = open_console()
    measured = benchmark(
        write_networks(arguments.folder),
        ["onnxruntime", "openvino"],
        seconds=arguments.seconds,
        bar=ConsoleReporter(console).bar,
    )
    show_benchmark(console, measured)
    found = checks(measured)
    result = {**asdict(measured), "widths": networks(), "checks": found}
    write_json(HERE / "results" / "latency_cpu.json", result)
    tell(found)


if __name__ == "__main__":
    main()
