"""A file that cannot be opened gives an error of one line that names it."""

import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from secateur.errors import MissingExtraError, ModelError, SecateurError
from secateur.inference.predictor import open_predictor


def foreign_onnx(path: Path) -> Path:
    """A valid file that secateur did not write; it returns its input."""
    pictures = helper.make_tensor_value_info("pictures", TensorProto.FLOAT, [1])
    same = helper.make_tensor_value_info("same", TensorProto.FLOAT, [1])
    graph = helper.make_graph(
        [helper.make_node("Identity", ["pictures"], ["same"])], "g", [pictures], [same]
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def error_of(path: Path, runtime: str | None = None) -> str:
    with pytest.raises(SecateurError) as error:
        open_predictor(path, runtime)
    text = str(error.value)
    assert "\n" not in text
    assert str(path) in text
    return text


@pytest.mark.parametrize("name", ["a.onnx", "a.xml", "a.safetensors"])
def test_a_missing_file(name: str, tmp_path: Path) -> None:
    assert "no such" in error_of(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"nothing", b"\0" * 1000])
def test_a_file_that_is_not_a_network(content: bytes, tmp_path: Path) -> None:
    for name in ("[a].onnx", "[a].xml", "[a].safetensors"):
        (tmp_path / name).write_bytes(content)
        (tmp_path / "[a].bin").write_bytes(content)
        assert "give a" in error_of(tmp_path / name) or "give one" in error_of(tmp_path / name)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_file_that_secateur_did_not_write(runtime: str, tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "a.onnx")
    assert "that secateur did not export" in error_of(path, runtime)


def test_an_openvino_file_without_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text("<net/>")
    with pytest.raises(ModelError, match=r"a\.bin: no such file.*keep the two in one folder"):
        open_predictor(path)


@pytest.mark.parametrize(
    ("name", "runtime"),
    [
        ("a.onnx", "torch"),
        ("a.xml", "torch"),
        ("a.xml", "onnxruntime"),
        ("a.safetensors", "openvino"),
    ],
)
def test_a_runtime_that_does_not_read_the_format(name: str, runtime: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    assert "does not read this format" in error_of(tmp_path / name, runtime)


@pytest.mark.parametrize(("name", "package"), [("a.onnx", "onnxruntime"), ("a.xml", "openvino")])
def test_a_missing_package_names_the_command_that_installs_it(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / name).touch()
    with pytest.raises(MissingExtraError, match=rf"{package}.*pip install 'secateur\[export\]'"):
        open_predictor(tmp_path / name)
