"""An untrained detector that runs in milliseconds, and how to read a printed table."""

import re
from pathlib import Path

import torch

from secateur.models.network_file import save_network
from secateur.models.ssd import SSDArchitecture, build_ssd, ssd_architecture


def tiny(widths: float, classes: tuple[str, ...] = ("dog", "cat")) -> SSDArchitecture:
    return ssd_architecture(
        "ssd300", classes, size=64, widths=widths, batch_norm=True, detection_layers=2
    )


def write_network(path: Path, architecture: SSDArchitecture) -> Path:
    torch.manual_seed(0)
    save_network(path, build_ssd(architecture), architecture, {"run": "a [run]"})
    return path


def row(table: str, name: str) -> list[str]:
    rows = [re.split(r"\s{2,}", line.strip()) for line in table.splitlines()]
    return next(cells for cells in rows if cells[0] == name)
