"""Draw ``docs/images/latency_cpu.svg`` from ``benchmarks/results/latency_cpu.json``."""

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[1]
COLOURS = {
    "dense": "#7a869a",
    "slim": "#4c8bf5",
    "rounded": "#1f5fc4",
    "rounded, 8 bits": "#e07a1f",
}


def bars(result: dict[str, Any], runtime: str) -> dict[str, float]:
    """Return milliseconds of the network alone, by the name in the chart."""
    eight = {"onnxruntime": "rounded.int8.onnx", "openvino": "rounded.int8.xml"}[runtime]
    names = {f"{name}.safetensors": name for name in ("dense", "slim", "rounded")}
    names[eight] = "rounded, 8 bits"
    return {
        names[Path(each["model"]).name]: each["network"]["median"]
        for each in result["measurements"]
        if each["runtime"] == runtime and Path(each["model"]).name in names
    }


def draw(result: dict[str, Any]) -> Figure:
    """Return the chart: a row of bars for each runtime."""
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for each, (runtime, title) in zip(
        axes, (("onnxruntime", "ONNX Runtime"), ("openvino", "OpenVINO")), strict=True
    ):
        times = bars(result, runtime)
        shown = each.bar(list(times), list(times.values()), color=[COLOURS[n] for n in times])
        labels = [f"{ms:.0f} ms\n{times['dense'] / ms:.1f}×" for ms in times.values()]
        each.bar_label(shown, labels, padding=2, fontsize=9)
        each.set_title(title)
        each.spines[["top", "right"]].set_visible(False)
        each.tick_params(axis="x", labelrotation=20)
        each.margins(y=0.22)
    axes[0].set_ylabel("milliseconds a picture, network alone")
    return figure


if __name__ == "__main__":
    # The same figures give the same file; text is searchable.
    mpl.rcParams.update({"svg.hashsalt": "secateur", "svg.fonttype": "none"})
    content = json.loads((ROOT / "benchmarks/results/latency_cpu.json").read_text("utf-8"))
    draw(content).savefig(ROOT / "docs/images/latency_cpu.svg", metadata={"Date": None})
