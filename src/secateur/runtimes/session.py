"""A network that some runtime has loaded."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.errors import ModelError
from secateur.runtimes.description import Description

Pictures = NDArray[np.uint8]  # (N, 3, H, W), RGB
Arrays = list[NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Session:
    """An exported file, loaded.

    Attributes:
        description: what the file says of itself.
        run: maps pictures to the outputs that the description names, in their order.
    """

    description: Description
    run: Callable[[Pictures], Arrays]


def foreign(path: Path, kind: str) -> ModelError:
    """Say that a file is of a known kind, but not ours."""
    return ModelError(
        f"{path}: is {kind}, but none that secateur export wrote, so its classes and input are not "
        "known; export the network again"
    )
