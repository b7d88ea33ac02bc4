"""A detector recipe that runs in seconds, its drawn images, and the real command."""

import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

TRAINING = {"batch_size": 4, "optimizer": "adamw", "lr": 0.003}
RECIPE: dict[str, Any] = {
    "name": "tiny",
    "seed": 0,
    "data": {"format": "voc", "classes": ["square", "disc"], "validation": 0.25, "workers": 0},
    "model": {
        "size": 64,
        "widths": 0.06,
        "batch_norm": True,
        "detection_layers": 1,
        "scales": [0.4, 0.8],
    },
    "train": {"steps": 200, **TRAINING},
    "compress": {
        "phases": [{"layers": "conv1_1-conv4_3"}],
        "sparsify": {"steps": 100, **TRAINING, "lr": 0.001, "strength": 0.002},
        "threshold": {"max_drop": 5, "resolution": 0.2},
        "select": {"keep_params": 0.3, "keep_macs": 0.4, "min_filters": 1},
        "retrain": {"steps": 150, **TRAINING},
    },
}
SHAPES = Path(__file__).parents[1] / "tests" / "shapes.py"


def write_recipe(folder: Path, pictures: int = 24) -> Path:
    """Draw images into ``folder/pictures`` and write the recipe next to that folder."""
    runpy.run_path(str(SHAPES))["draw_voc_folder"](folder / "pictures", train=pictures)
    recipe = folder / "tiny.yaml"
    data = {**RECIPE["data"], "root": str(folder / "pictures")}
    recipe.write_text(yaml.safe_dump({**RECIPE, "data": data}))
    return recipe


def start(
    command: str,
    recipe: Path,
    *options: str,
    log: Path,
    environment: Mapping[str, str] | None = None,
    under: Sequence[str] = (),
) -> "subprocess.Popen[str]":
    """Start the real command in its own process; its output is appended to a log.

    Args:
        command: of secateur.
        recipe: its argument.
        options: its options.
        log: the file.
        environment: variables beside those of this process.
        under: a command that runs the command which follows it, such as ``nice``.
    """
    with log.open("a") as file:
        return subprocess.Popen(
            [*under, sys.executable, "-m", "secateur", command, str(recipe), *options],
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
        )
