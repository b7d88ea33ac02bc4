"""Small real runs, and a browser to look at their reports with."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from secateur.cli.main import main
from shapes import draw_class_folders, draw_voc_folder

ROOT = Path(__file__).parents[2]
# Names that a page must show as they are, and a spreadsheet must not run.
SQUARE, DISC = "<b onclick=alert(1)>square</b>", "=disc & 'round'"

DETECTOR: dict[str, Any] = {
    "name": "tiny",
    "data": {
        "format": "voc",
        "train": "train",
        "test": "test",
        "classes": [SQUARE, DISC],
        "validation": 0.25,
        "workers": 0,
    },
    "model": {
        "size": 64,
        "widths": 0.04,
        "batch_norm": True,
        "detection_layers": 3,
        "scales": [0.2, 0.35, 0.6, 0.9],
    },
    "train": {"steps": 60, "batch_size": 4, "optimizer": "adamw", "lr": 0.003},
    "compress": {
        "phases": [
            {"layers": "conv1_1-conv4_3"},
            {"layers": "conv4_3-conv8_2", "select": {"s_F": 0.7, "s_F_both": 0.4, "s_G": 0.5}},
        ],
        "sparsify": {"steps": 20, "batch_size": 4, "lr": 0.01, "strength": 0.05},
        "threshold": {"max_drop": 5, "resolution": 0.2},
        "select": {"keep_params": 0.5, "min_filters": 1},
        "retrain": {"steps": 40, "batch_size": 4, "optimizer": "adamw", "lr": 0.003},
    },
}
CLASSIFIER: dict[str, Any] = {
    "name": "shapes",
    "data": {"format": "folders", "validation": 0.25},
    "model": {"network": "vgg16", "size": 32, "widths": 0.06, "hidden": [128], "pool": 1},
    "train": {"steps": 15, "batch_size": 8, "optimizer": "adamw", "lr": 0.003},
    "compress": {
        "phases": [{"layers": "conv1_1-fc6"}],
        "sparsify": {"steps": 10, "batch_size": 8, "optimizer": "adamw", "strength": 0.01},
        "threshold": {"max_drop": 20, "resolution": 0.2},
        "select": {"keep_params": 0.4, "min_filters": 1},
        "retrain": {"steps": 5, "batch_size": 8, "optimizer": "adamw", "lr": 0.003},
    },
}


def compress(folder: Path, recipe: dict[str, Any], root: Path) -> Path:
    """Run the real command on a recipe, and give the run's folder."""
    torch.set_num_threads(1)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**recipe, "data": {**recipe["data"], "root": str(root)}}))
    with pytest.raises(SystemExit) as end:
        main(["compress", str(path), "--run", str(folder / "run")])
    assert end.value.code == 0
    return folder / "run"


@pytest.fixture(scope="session")
def detector_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector of squares and discs, in two phases: one by a budget, one by levels."""
    root = tmp_path_factory.mktemp("pictures")
    draw_voc_folder(root, DISC, SQUARE)
    return compress(tmp_path_factory.mktemp("detector"), DETECTOR, root)


@pytest.fixture(scope="session")
def classifier_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of squares and discs; one of two test pictures it must take for the other's."""
    root = tmp_path_factory.mktemp("shapes")
    draw_class_folders(root)
    shutil.copyfile(root / "test/square [2]/25.png", root / "test/disc/twin.png")
    return compress(tmp_path_factory.mktemp("classifier"), CLASSIFIER, root)


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Path], Path]:
    """Give a copy of a run to alter."""

    def copy(run: Path) -> Path:
        return Path(shutil.copytree(run, tmp_path / "copy"))

    return copy


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """A headless Chromium that tells of every request and of every message of a page."""
    names = ("chromium", "chromium-browser", "google-chrome")
    binary = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no Chromium with its chromedriver here: the report is not opened")
    options = ChromeOptions()
    options.binary_location = binary
    for argument in (
        "--headless=new",
        "--no-sandbox",  # of pages that the tests have made
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1200,900",
        f"--user-data-dir={tmp_path_factory.mktemp('browser')}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = Chrome(options, ChromeService(driver))
    yield chrome
    chrome.quit()
