"""The kinds of files that are not networks."""

from pathlib import Path

import pytest
import torch

from secateur.errors import ModelError
from secateur.files.file_kind import file_kind
from secateur.models.network_file import load_network


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.safetensors", b"", "empty"),
        ("a.safetensors", b"\x80\x31\0\0\0\0\0\0{", "part of one, cut off or damaged"),
        ("a.safetensors", b"\xff\xd8\xff\xe0", "a JPEG picture"),
        ("a.safetensors", b"\x89PNG\r\n", "a PNG picture"),
        ("a.xml", b"<net>", "XML"),
        ("a.onnx", b"\x08\x0a", "an ONNX file"),
        ("a.bin", b"words", "of an unknown kind"),
    ],
)
def test_kinds(name: str, content: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert file_kind(tmp_path / name) == kind


@pytest.mark.parametrize(
    ("zipped", "kind"), [(True, "a zip archive, such as torch.save"), (False, "a pickle")]
)
def test_a_file_of_torch_is_named_and_not_unpickled(
    zipped: bool, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "[old].pt"
    torch.save({"a": torch.ones(1)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelError) as error:
        load_network(path)
    assert f"[old].pt: not a safetensors file, but {kind}" in str(error.value)
