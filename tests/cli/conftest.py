"""A detector, a VOC data set and a recipe for it, in folders with awkward names."""

from pathlib import Path

import pytest
import yaml
from PIL import Image
from tiny_detector import tiny, write_network

SQUARE = "<bndbox><xmin>9</xmin><ymin>9</ymin><xmax>40</xmax><ymax>40</ymax></bndbox>"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_network(tmp_path / "slim.safetensors", tiny(0.03))


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Eight pictures to train on and two to test on, each with a dog; one has a cat too."""
    root = tmp_path / "my [red]pictures[ red] :dog:"
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    for split, names in (("train", range(8)), ("test", range(8, 10))):
        lines = "".join(f"p{name}\n" for name in names)
        (root / f"ImageSets/Main/{split}.txt").write_text(lines)
    for name in range(10):
        picture = Image.new("RGB", (80, 60), (20 * name, 90, 60))
        picture.save(root / f"JPEGImages/p{name}.jpg")
        cat = f"<object><name>cat</name>{SQUARE}</object>" if name == 0 else ""
        (root / f"Annotations/p{name}.xml").write_text(
            f"<annotation><object><name>dog</name>{SQUARE}</object>{cat}</annotation>"
        )
    return root


@pytest.fixture
def recipe(tmp_path: Path, voc: Path) -> Path:
    steps = {"steps": 2, "batch_size": 2, "lr": 0.001}
    content = {
        "name": "tiny",
        "data": {
            "format": "voc",
            "root": str(voc),
            "classes": ["dog", "cat"],
            "validation": 0.25,
            "workers": 0,
        },
        "model": {"size": 64, "widths": 0.06, "batch_norm": True, "detection_layers": 2},
        "train": steps,
        "compress": {
            "phases": [{"layers": "conv1_1-conv4_3"}, {"layers": "conv4_3-conv7"}],
            "sparsify": steps,
            "threshold": {"resolution": 0.5},
            "select": {"keep_macs": 0.5, "min_filters": 1},
            "retrain": steps,
        },
        "evaluate": {"batch_size": 4},
    }
    path = tmp_path / "tiny [draft].yaml"
    path.write_text(yaml.safe_dump(content))
    return path
