"""What cannot be opened is told in one line that names the file."""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from secateur.errors import MissingExtraError, ModelError, SecateurError
from secateur.files import optional as extras
from secateur.inference.predictor import open_network
from secateur.runtimes.table import Runtime


def foreign_onnx(path: Path) -> Path:
    """A valid file that is none of ours: it gives its input back."""
    pictures = helper.make_tensor_value_info("pictures", TensorProto.FLOAT, [1])
    same = helper.make_tensor_value_info("same", TensorProto.FLOAT, [1])
    graph = helper.make_graph(
        [helper.make_node("Identity", ["pictures"], ["same"])], "g", [pictures], [same]
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def error_of(path: Path, runtime: Runtime | None = None) -> str:
    with pytest.raises(SecateurError) as error:
        open_network(path, runtime)
    text = str(error.value)
    assert "\n" not in text
    assert str(path) in text
    return text


@pytest.mark.parametrize("name", ["a.onnx", "a.xml", "a.safetensors"])
def test_a_file_that_is_not_there(name: str, tmp_path: Path) -> None:
    assert "no such" in error_of(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"nothing", b"\0" * 1000])
def test_a_file_that_is_no_network(content: bytes, tmp_path: Path) -> None:
    for name in ("[a].onnx", "[a].xml", "[a].safetensors"):
        (tmp_path / name).write_bytes(content)
        (tmp_path / "[a].bin").write_bytes(content)
        assert "give a" in error_of(tmp_path / name) or "give one" in error_of(tmp_path / name)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_file_of_somebody_else(runtime: Runtime, tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "a.onnx")
    assert "none that secateur export wrote" in error_of(path, runtime)


def test_the_weights_of_an_openvino_file_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text("<net/>")
    with pytest.raises(ModelError, match=r"a\.bin: no such file.*keep the two together"):
        open_network(path)


@pytest.mark.parametrize(
    ("name", "runtime"), [("a.onnx", "torch"), ("a.xml", "torch"), ("a.xml", "onnxruntime")]
)
def test_a_runtime_that_does_not_read_the_format(
    name: str, runtime: Runtime, tmp_path: Path
) -> None:
    (tmp_path / name).touch()
    assert "does not read this format" in error_of(tmp_path / name, runtime)


@pytest.mark.parametrize("name", ["a.onnx", "a.xml"])
def test_a_missing_package_names_the_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(package: str) -> None:
        raise ModuleNotFoundError(name=package)

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    (tmp_path / name).touch()
    with pytest.raises(MissingExtraError, match=r"pip install 'secateur\[export\]'"):
        open_network(tmp_path / name)
