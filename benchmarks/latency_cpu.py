"""Latency of SSD300 with the paper's pruned widths, on ONNX Runtime and OpenVINO.

``python benchmarks/latency_cpu.py`` writes ``benchmarks/results/latency_cpu.json``. The weights
are fresh, because latency does not depend on them. Measured are SSD300 with full widths, with the
widths of the paper's pruned-6det (Table 1), and with those widths rounded to multiples of 16. They
are rounded to the nearest multiple, except that as many are rounded down as are needed to have no
more MACs than the paper. The last network is also exported with int8, calibrated on drawn
pictures. All are measured in one run, in turns, one picture at a time.
"""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from checks import print_checks
from published import CLASSES, networks
from secateur.benchmark.benchmark import Benchmark, Measurement, benchmark
from secateur.benchmark.preparation import Conditions
from secateur.cli.benchmark import show_benchmark
from secateur.cli.console import ConsoleReporter, open_console
from secateur.export.pictures import drawn_pictures
from secateur.export.table import write_file
from secateur.export.target import Target, export_header
from secateur.files.atomic_write import write_json
from secateur.inference.torch_network import TorchNetwork
from secateur.models.network_file import save_network
from secateur.models.ssd import build_ssd, ssd_architecture

HERE = Path(__file__).parent
SEED = 20261124


def write_networks(folder: Path) -> list[str]:
    """Write all files that are measured."""
    torch.manual_seed(SEED)
    files = []
    for name, widths in networks().items():
        architecture = ssd_architecture("ssd300", CLASSES, widths=widths)
        path = folder / f"{name}.safetensors"
        save_network(path, build_ssd(architecture), architecture, {"network": name})
        files.append(str(path))
    model = files[-1]
    network = TorchNetwork.load(model)
    pictures = drawn_pictures((300, 300))
    for target in (Target("onnx", "int8"), Target("openvino", "int8")):
        path = target.file_for(model)
        write_file(network, path, target.format, export_header(network, target), pictures)
        files.append(str(path))
    return files


def checks(measured: Benchmark) -> list[dict[str, Any]]:
    """Compare the ratios with their targets."""
    found: dict[tuple[str, str], Measurement] = {
        (Path(each.model).name, each.runtime): each for each in measured.measurements
    }
    rows = []
    for runtime, eight in (("onnxruntime", "rounded.int8.onnx"), ("openvino", "rounded.int8.xml")):
        rounded = found["rounded.safetensors", runtime]
        share = (rounded.network_times_faster or 0) / (rounded.times_fewer_macs or 1)
        rows.append((f"{runtime}: rounded, times faster ÷ times fewer MACs", share, 0.9))
        int8 = found[eight, runtime].network_times_faster or 0
        rows.append((f"{runtime}: rounded with int8, times faster than dense", int8, 7.5))
    return [
        {"name": name, "value": value, "target": target, "met": value >= target}
        for name, value, target in rows
    ]


def main() -> None:
    """Write the networks, measure them and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/latency_cpu"))
    parser.add_argument("--seconds", type=float, default=30.0, help="for each network and runtime")
    arguments = parser.parse_args()
    console = open_console()
    measured = benchmark(
        write_networks(arguments.folder),
        Conditions(runtimes=["onnxruntime", "openvino"], seconds=arguments.seconds),
        ConsoleReporter(console).bar,
    )
    show_benchmark(console, measured)
    found = checks(measured)
    result = {**asdict(measured), "widths": networks(), "checks": found}
    write_json(HERE / "results" / "latency_cpu.json", result)
    print_checks(found)


if __name__ == "__main__":
    main()
