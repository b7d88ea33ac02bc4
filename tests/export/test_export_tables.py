"""A new export format and a new runtime are one module and one line in a table each."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import no_bar, write_classifier, write_detector
from torch import Tensor, nn

from secateur.benchmark.job import parts
from secateur.benchmark.preparation import Conditions, prepare_jobs
from secateur.config.compress import Select
from secateur.errors import ExportError
from secateur.export.export import export_network
from secateur.export.graph import export_graph
from secateur.export.table import EXPORTS, PRECISIONS, ExportFormat, write_file
from secateur.export.target import Target
from secateur.inference.predictor import open_predictor
from secateur.inference.torch_network import TorchNetwork
from secateur.runtimes.exported_file import Arrays, ExportedFile, Pictures
from secateur.runtimes.header import KEY, ExportHeader
from secateur.runtimes.table import RUNTIMES, Runtime, compile_module, readers


def write_program(
    network: TorchNetwork, path: Path, header: ExportHeader, _pictures: Sequence[Tensor]
) -> None:
    """Write a program of ``torch.export`` with its header."""
    side = header.size
    example = torch.zeros(header.batch or 2, 3, side, side, dtype=torch.uint8)
    program = torch.export.export(export_graph(network, header).eval(), (example,))
    torch.export.save(program, path, extra_files={KEY: header.model_dump_json()})


def open_program(path: Path, _threads: int | None) -> ExportedFile:
    """Open what ``write_program`` wrote."""
    texts = {KEY: ""}
    module = torch.export.load(path, extra_files=texts).module()
    header = ExportHeader.parse(texts[KEY])
    assert header is not None

    def run(pictures: Pictures) -> Arrays:
        with torch.inference_mode():
            outputs = module(torch.from_numpy(pictures))
        return [each.numpy() for each in (outputs if isinstance(outputs, tuple) else [outputs])][:3]

    return ExportedFile(header, run)


def compile_program(
    module: nn.Module, example: Tensor, _threads: int | None
) -> Callable[[], object]:
    """Return a function that runs the module's program."""
    program = torch.export.export(module.eval(), (example,)).module()
    return lambda: program(example)


PROGRAM = ExportFormat("programs of torch.export", ".pt2", f"{__name__}:write_program", PRECISIONS)
RUNNER = Runtime(
    "torch.export",
    "torch.export",
    (".pt2",),
    f"{__name__}:open_program",
    f"{__name__}:compile_program",
)


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXPORTS, "program", PROGRAM)
    monkeypatch.setitem(RUNTIMES, "program", RUNNER)


@pytest.mark.usefixtures("added")
@pytest.mark.parametrize("write", [write_detector, write_classifier])
def test_an_added_format_is_written_and_verified_by_its_runtime(
    write: Callable[[Path], Path], tmp_path: Path
) -> None:
    model = write(tmp_path / "slim.safetensors")
    target = Target("program")
    out = target.file_for(str(model))
    assert out == tmp_path / "slim.pt2"
    result = export_network(TorchNetwork.load(str(model)), out, target, bar=no_bar)
    assert result.agreement is not None
    assert result.agreement.matched == result.agreement.objects > 10
    assert json.loads((tmp_path / "slim.pt2.json").read_text("utf-8"))["file"] == "slim.pt2"
    assert open_predictor(out).header == ExportHeader.model_validate(result.header)
    with pytest.raises(ExportError, match="use --format program"):
        export_network(TorchNetwork.load(str(model)), tmp_path / "a.pt2", Target(), bar=no_bar)


@pytest.mark.usefixtures("added")
def test_a_wrong_writer_is_found_by_verification(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = write_program

    def write_changed(
        network: TorchNetwork, path: Path, header: ExportHeader, pictures: Sequence[Tensor]
    ) -> None:
        nn.init.normal_(network.model.get_parameter("classifier.0.weight"))
        write(network, path, header, pictures)

    model = write_classifier(tmp_path / "slim.safetensors")
    monkeypatch.setattr(f"{__name__}.write_program", write_changed)
    network, out = TorchNetwork.load(str(model)), tmp_path / "a.pt2"
    with pytest.raises(ExportError, match="not written"):
        export_network(network, out, Target("program"), bar=no_bar)
    assert list(tmp_path.iterdir()) == [model]


@pytest.mark.usefixtures("added")
def test_an_added_runtime_is_measured_on_a_temporary_export(tmp_path: Path) -> None:
    model = write_classifier(tmp_path / "slim.safetensors")
    (job,) = prepare_jobs(str(model), Conditions(runtimes=["program"]), 1, tmp_path / "exports")
    assert job.file == tmp_path / "exports" / "1.pt2"
    ((part, run),) = parts(job)
    (scores,) = run(job.pictures[0])
    assert (part, scores.shape) == ("whole", (1, 3))
    expected = open_predictor(model).classify(torch.from_numpy(job.pictures[0]))
    torch.testing.assert_close(torch.from_numpy(scores), expected)


@pytest.mark.usefixtures("added")
def test_an_added_runtime_compiles_modules_and_is_a_recipes_value() -> None:
    layer, example = nn.Conv2d(3, 4, 3), torch.rand(1, 3, 8, 8)
    found = compile_module(layer, example, "program")()
    torch.testing.assert_close(found, layer(example))
    select = {"keep_macs": 0.5, "round_to": "auto"}
    assert Select.model_validate({**select, "runtime": "program"}).runtime == "program"
    with pytest.raises(ValueError, match="torch, onnxruntime, openvino, program"):
        Select.model_validate({**select, "runtime": "tvm"})


@pytest.mark.parametrize("name", RUNTIMES)
def test_every_runtime_compiles_a_module(name: str) -> None:
    run = compile_module(nn.Conv2d(3, 4, 3), torch.rand(1, 3, 8, 8), name, 1)
    assert run() is not None
    assert name in {each for suffix in RUNTIMES[name].suffixes for each in readers(suffix)}


@pytest.mark.parametrize("name", EXPORTS)
def test_every_format_has_a_runtime_that_reads_it(name: str, tmp_path: Path) -> None:
    network = TorchNetwork.load(str(write_classifier(tmp_path / "slim.safetensors")))
    header = network.header.model_copy(update={"shape": (32, 32), "batch": 2})
    path = tmp_path / f"export{EXPORTS[name].suffix}"
    write_file(network, path, name, header)
    pictures = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), np.uint8))
    expected = open_predictor(tmp_path / "slim.safetensors").classify(pictures)
    for runtime in readers(path.suffix):
        torch.testing.assert_close(open_predictor(path, runtime).classify(pictures), expected)
