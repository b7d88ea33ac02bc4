import io
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from secateur.benchmark.benchmark import Benchmark, Measurement, batch_sizes, compared
from secateur.benchmark.memory import Memory
from secateur.benchmark.pictures import picture_batches, random_batch
from secateur.benchmark.preparation import Conditions, prepare_jobs, runtimes_for, shape_for
from secateur.benchmark.timing import Times
from secateur.cli.benchmark import show_benchmark
from secateur.cli.main import main
from secateur.errors import ExportError, MissingExtraError, ModelError
from secateur.export.target import Target
from secateur.inference.torch_network import TorchNetwork


def times(median: float) -> Times:
    return Times(median, median - 1, median + 1.25, 20)


DENSE = Measurement(
    model="runs/a/dense.safetensors",
    runtime="torch",
    compiled=False,
    precision="fp32",
    batch=1,
    shape=(300, 300),
    macs=9000,
    network=times(120),
    whole=times(150),
    pictures_per_second=1000 / 150,
    memory=Memory(100_000_000, 700_000_000),
)
SLIM = replace(
    DENSE,
    model="runs/a/slim.safetensors",
    macs=3000,
    network=times(60),
    whole=times(100),
    pictures_per_second=10,
)


# ---- ratios and tables ---------------------------------------------------------------------


def test_ratios_are_to_the_first_network_on_the_same_runtime() -> None:
    def on_onnx(measured: Measurement, network: float) -> Measurement:
        return replace(measured, runtime="onnxruntime", network=times(network))

    found = compared([DENSE, SLIM, on_onnx(DENSE, 90), on_onnx(SLIM, 30)])
    assert [each.compared_with for each in found] == [0, 0, 2, 2]
    assert [each.network_times_faster for each in found] == [1, 2, 1, 3]
    assert [each.whole_times_faster for each in found] == [1, 1.5, 1, 1.5]
    assert [each.times_fewer_macs for each in found] == [1, 3, 1, 3]


def test_ratios_are_otherwise_to_the_first_with_the_same_batch() -> None:
    raw = replace(SLIM, runtime="openvino", whole=None, macs=None)
    eight = replace(DENSE, batch=8)
    found = compared([DENSE, raw, eight, replace(raw, batch=8)])
    assert [each.compared_with for each in found] == [0, 0, 2, 2]
    assert [each.network_times_faster for each in found] == [1, 2, 1, 2]
    assert found[1].whole_times_faster is None
    assert found[1].times_fewer_macs is None


def shown(measured: list[Measurement], width: int) -> str:
    out = io.StringIO()
    benchmark = Benchmark(compared(measured), 2, "random bytes", 0, {})
    show_benchmark(Console(file=out, width=width), benchmark)
    return out.getvalue()


def test_the_table_shows_what_differs() -> None:
    slim = replace(SLIM, precision="int8", model="slim.xml")
    head, *rest = shown([DENSE, slim], 200).splitlines()
    assert head == ("torch, batch 1, 2 threads, random bytes, compared with dense.safetensors")
    cells = [" ".join(line.split()) for line in rest]
    dense = "dense.safetensors fp32 120 (119–121) 1.00 150 (149–151) 1.00 6.67 100 1.00"
    assert dense in cells
    assert "slim.xml int8 60.0 (59.0–61.2) 2.00 100 (99.0–101) 1.50 10.0 100 3.00" in cells


def test_a_narrow_terminal_shows_medians_only() -> None:
    other = replace(SLIM, runtime="onnxruntime")
    lines = shown([DENSE, SLIM, other], 80).splitlines()
    assert "quartiles" in lines[0]
    assert max(map(len, lines[1:])) <= 80
    cells = [" ".join(line.split()) for line in lines]
    assert "slim.safetensors 60.0 2.00 100 1.50 10.0 100 3.00" in cells
    assert "onnxruntime, batch 1" in cells


# ---- the whole command ---------------------------------------------------------------------


def test_every_runtime_measures_its_networks(
    detector: Path,
    exported: Callable[..., Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    file = exported(detector, Target("onnx"))
    out = tmp_path / "speed.json"
    runtimes = ["--runtime", "torch", "--runtime", "onnxruntime", "--runtime", "openvino"]
    arguments = [str(detector), str(file), *runtimes, "--runs", "2", "--threads", "1"]
    with pytest.raises(SystemExit) as end:
        main(["benchmark", *arguments, "--json", "--out", str(out)])
    printed = capfd.readouterr()
    assert end.value.code == 0, printed.err
    found = json.loads(printed.out)
    assert json.loads(out.read_text("utf-8")) == found
    assert f"written: {out}" in printed.err
    assert found["threads"] == 1
    assert found["pictures"] == "random bytes"
    assert {"torch", "onnxruntime", "openvino"} <= found["made_by"]["versions"].keys()

    measured = found["measurements"]
    assert [(each["model"], each["runtime"]) for each in measured] == [
        (str(detector), "torch"),
        (str(detector), "onnxruntime"),
        (str(file), "onnxruntime"),
        (str(detector), "openvino"),
        (str(file), "openvino"),
    ]
    macs = TorchNetwork.load(str(detector)).macs()
    assert [each["macs"] for each in measured] == [macs, macs, 1_000_000, macs, 1_000_000]
    for each in measured:
        assert each["shape"] == [96, 96]
        assert each["network"]["count"] == each["whole"]["count"] == 2
        assert 0 < each["network"]["lower"] <= each["network"]["median"]
        assert each["pictures_per_second"] == pytest.approx(1000 / each["whole"]["median"])
    for place in (0, 1, 3):
        first = measured[place]
        assert first["compared_with"] == place
        assert first["network_times_faster"] == first["whole_times_faster"] == 1
        assert first["times_fewer_macs"] == 1


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--batch", "1,8"], ["takes batches of 1, not of 8", "--dynamic-batch"]),
        (["--batch", "1,x"], ["--batch 1,x", "such as 1"]),
        (["--compile"], ["torch runs none", "leave it out"]),
        (["--runtime", "torch"], ["onnxruntime or openvino only", "--runtime onnxruntime"]),
        (["--shape", "96x128"], ["96 by 96 pixels only", "--shape"]),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(
    more: list[str],
    words: list[str],
    detector: Path,
    exported: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("secateur.benchmark.benchmark.running", None)  # no process is started
    with pytest.raises(SystemExit) as end:
        main(["benchmark", str(exported(detector, Target("onnx"))), *more])
    assert end.value.code == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert all(word in printed.err for word in words)


# ---- networks and pictures -----------------------------------------------------------------


def test_a_file_that_secateur_did_not_export_is_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info("pictures", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["pictures"], ["same"])
    same = onnx.helper.make_tensor_value_info("same", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([node], "foreign", [value], [same])
    opset = [onnx.helper.make_opsetid("", 18)]
    path = tmp_path / "foreign.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    for runtimes in ((), ("openvino",)):
        with pytest.raises(ModelError, match="secateur did not export"):
            prepare_jobs(str(path), Conditions(runtimes=runtimes), 1, tmp_path)


def test_a_missing_runtime_names_the_command_that_installs_it(
    detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"openvino.*pip install 'secateur\[export\]'"):
        runtimes_for(str(detector), ["torch", "openvino"])


def test_a_network_at_native_size_takes_any_shape(native: Path) -> None:
    assert runtimes_for(str(native), ()) == ("torch",)
    header = TorchNetwork.load(str(native)).header
    assert shape_for("native", header, None) == (96, 96)
    assert shape_for("native", header, (64, 128)) == (64, 128)
    with pytest.raises(ExportError, match="at least 12 pixels"):
        shape_for("native", header, (8, 128))


def test_an_export_for_any_batch_takes_eight(
    detector: Path, exported: Callable[..., Path], tmp_path: Path
) -> None:
    file = exported(detector, Target("onnx"), batch=None)
    conditions = Conditions(runtimes=["openvino"], batches=[8])
    (job,) = prepare_jobs(str(file), conditions, 1, tmp_path)
    assert (job.runtime, job.file, job.pictures[0].shape) == ("openvino", file, (8, 3, 96, 96))


def test_batch_sizes_are_read() -> None:
    assert batch_sizes("8, 1,8") == [1, 8]
    for wrong in ("", "0", "1;8", "-1"):
        with pytest.raises(ModelError, match="--batch"):
            batch_sizes(wrong)


def test_pictures_are_resized_and_repeated(tmp_path: Path) -> None:
    for name, colour in (("a", (250, 0, 0)), ("b", (0, 0, 250)), ("c", (9, 9, 9))):
        Image.new("RGB", (50, 30), colour).save(tmp_path / f"{name}.png")
    first, second = picture_batches(tmp_path, (16, 24), 2)
    assert first.shape == second.shape == (2, 3, 16, 24)
    assert first[0, :, 8, 8].tolist() == [250, 0, 0]
    assert second[1, :, 8, 8].tolist() == [250, 0, 0]


def test_random_pictures_follow_from_the_seed() -> None:
    one, again, other = (random_batch((4, 6), 2, seed)[0] for seed in (1, 1, 2))
    assert one.shape == (2, 3, 4, 6)
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
