"""An exported file that a runtime has loaded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.errors import ModelError
from secateur.runtimes.header import ExportHeader

Pictures = NDArray[np.uint8]  # (N, 3, H, W), RGB
Arrays = list[NDArray[Any]]
Run = Callable[[Pictures], Arrays]
RunNamed = Callable[[Mapping[str, NDArray[Any]]], Arrays]  # of any inputs, by name


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """An exported file that a runtime has loaded.

    Attributes:
        header: from the file's metadata.
        run: maps pictures to the outputs that the header names, in order.
        load_network: loads the network without decoding and NMS, which maps pictures to
            ``header.RAW_OUTPUTS``; None if the file does not name these tensors.
    """

    header: ExportHeader
    run: Run
    load_network: Callable[[], Run | None] = lambda: None


def not_exported(path: Path, kind: str, entry: str | None) -> ModelError:
    """Return the error for a readable file without a header of pictures and classes.

    Args:
        path: of the file.
        kind: of file, in words.
        entry: of its metadata, under secateur's key.
    """
    if entry:
        return ModelError(
            f"{path}: is {kind} that secateur.export_model wrote: it takes tensors, not pictures, "
            "and has no classes; run it with ONNX Runtime or OpenVINO"
        )
    return ModelError(
        f"{path}: is {kind} that secateur did not export, so its classes and input are unknown; "
        "export the network with secateur export"
    )
