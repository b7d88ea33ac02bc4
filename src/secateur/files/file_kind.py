"""What a file is that was taken for a network, for the message that it is none."""

from pathlib import Path

# First bytes, and what begins with them.
_BEGINNINGS = (
    (b"PK\x03\x04", "a zip archive, such as torch.save writes"),
    (b"\x80", "a pickle, such as torch.save once wrote"),
    (b"\x89HDF", "an HDF5 file, such as Keras writes"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG", "a PNG picture"),
    (b"<", "XML"),
    (b"{", "JSON"),
)
# Of a safetensors file: 8 bytes for the length of what follows, which is JSON.
_LENGTH = 8
_ENDINGS = {".onnx": "an ONNX file", ".tflite": "a TensorFlow Lite file", ".engine": "an engine"}


def file_kind(path: Path) -> str:
    """Say what a file is, by its first bytes, or else by its ending."""
    with path.open("rb") as file:
        start = file.read(16)
    if not start:
        return "empty"
    if start[_LENGTH : _LENGTH + 1] == b"{":  # asked for by who could not read it
        return "part of one, cut off or damaged"
    known = (kind for beginning, kind in _BEGINNINGS if start.startswith(beginning))
    return next(known, _ENDINGS.get(path.suffix.lower(), "of an unknown kind"))
