"""Run folders, and a browser to look at their reports with."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from made_runs import CLASSIFIER, DETECTOR, make_run
from selenium.webdriver import Chrome, ChromeOptions, ChromeService


@pytest.fixture(scope="session")
def detector_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a detector, written by hand."""
    return make_run(tmp_path_factory.mktemp("detector") / "run", DETECTOR, "detection")


@pytest.fixture(scope="session")
def classifier_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a classifier, written by hand."""
    return make_run(tmp_path_factory.mktemp("classifier") / "run", CLASSIFIER, "classification")


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Path], Path]:
    """Copies a run, so that a test can alter it."""

    def copy(run: Path) -> Path:
        return Path(shutil.copytree(run, tmp_path / "copy"))

    return copy


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """A headless Chromium that logs every request and every message of a page."""
    names = ("chromium", "chromium-browser", "google-chrome")
    binary = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no Chromium with chromedriver is installed")
    options = ChromeOptions()
    options.binary_location = binary
    for argument in (
        "--headless=new",
        "--no-sandbox",  # the tests made the pages
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
