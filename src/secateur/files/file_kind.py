"""The kind of a file that is not a network, for the error message."""

from pathlib import Path

# First bytes of a file, and its kind.
_BEGINNINGS = (
    (b"PK\x03\x04", "a zip archive, such as torch.save writes"),
    (b"\x80", "a pickle, such as torch.save once wrote"),
    (b"\x89HDF", "an HDF5 file, such as Keras writes"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG", "a PNG picture"),
    (b"<", "XML"),
    (b"{", "JSON"),
)
# A safetensors file begins with the length of its header in 8 bytes; the header is JSON.
_LENGTH = 8
_ENDINGS = {".onnx": "an ONNX file", ".tflite": "a TensorFlow Lite file", ".engine": "an engine"}


def file_kind(path: Path) -> str:
    """Name the kind of a file that is not readable as safetensors, by its first bytes or ending."""
    with path.open("rb") as file:
        start = file.read(16)
    if not start:
        return "empty"
    if start[_LENGTH : _LENGTH + 1] == b"{":
        return "part of one, cut off or damaged"
    known = (kind for beginning, kind in _BEGINNINGS if start.startswith(beginning))
    return next(known, _ENDINGS.get(path.suffix.lower(), "of an unknown kind"))
