"""A detector recipe that runs in seconds, and its drawn images."""

from pathlib import Path
from typing import Any

import torch
import yaml

from shapes import draw_voc_folder

STEPS = {"batch_size": 4, "optimizer": "adamw", "lr": 0.003}
TINY: dict[str, Any] = {
    "name": "tiny",
    "seed": 5,
    "data": {"format": "voc", "classes": ["square", "disc"], "validation": 0.25, "workers": 0},
    "model": {
        "size": 64,
        "widths": 0.04,
        "batch_norm": True,
        "detection_layers": 1,
        "scales": [0.4, 0.8],
    },
    "train": {"steps": 16, **STEPS},
    "compress": {
        "phases": [{"layers": "conv1_1-conv4_3"}],
        "sparsify": {"steps": 4, "batch_size": 4, "lr": 0.01, "strength": 0.05},
        "threshold": {"max_drop": 5, "resolution": 0.3},
        "select": {"keep_params": 0.9, "min_filters": 1},
        "remove": {"batches": 2},
        "retrain": {"steps": 6, **STEPS},
    },
}
# The line of a stage that is done; one that is found has another.
STEP = (
    r"(dense|evaluate-\w+|examples|phase\d-\w+)"
    r"(: (redone: what it depends on has|re-evaluated: evaluation settings) changed)?"
)


def write_recipe(root: Path, recipe: dict[str, Any]) -> Path:
    """Draw images into a folder, and write their recipe there."""
    torch.set_num_threads(1)
    draw_voc_folder(root)
    path = root / "tiny.yaml"
    path.write_text(yaml.safe_dump({**recipe, "data": {**recipe["data"], "root": str(root)}}))
    return path
