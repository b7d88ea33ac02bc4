"""Event files: their values, their number of points, and errors."""

from pathlib import Path

import pytest

from event_files import read_curves
from secateur.errors import RunError
from secateur.training.log import is_point, training_log


def test_values_can_be_read_back(tmp_path: Path) -> None:
    with training_log(tmp_path / "logs/dense") as log:
        for step in range(1, 101):
            log({"loss": 1 / step, "lr": 0.5}, step)
        log({"AP50_area": 75.0}, 100)
    curves = read_curves(tmp_path / "logs/dense")
    assert curves == {
        "loss": [(step, pytest.approx(1 / step)) for step in range(1, 101)],
        "lr": [(step, 0.5) for step in range(1, 101)],
        "AP50_area": [(100, 75.0)],
    }


def test_the_log_of_an_earlier_training_is_deleted(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        with training_log(tmp_path / "dense") as log:
            log({"loss": value}, 1)
    assert read_curves(tmp_path / "dense") == {"loss": [(1, 2.0)]}


def test_a_resumed_training_continues_its_curve(tmp_path: Path) -> None:
    def fail() -> None:
        with training_log(tmp_path / "dense") as log:
            for step in range(1, 6):
                log({"loss": float(step)}, step)
            raise RunError("stopped")

    with pytest.raises(RunError):
        fail()
    with training_log(tmp_path / "dense", done=3) as log:
        for step in range(4, 8):
            log({"loss": 10.0 * step}, step)
    assert read_curves(tmp_path / "dense") == {
        "loss": [(1, 1), (2, 2), (3, 3), (4, 40), (5, 50), (6, 60), (7, 70)]
    }


def test_values_are_kept_when_a_training_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with training_log(tmp_path / "dense") as log:
            log({"loss": 3.0}, 1)
            raise RunError("the loss is no longer finite")

    with pytest.raises(RunError, match="finite"):
        fail()
    assert read_curves(tmp_path / "dense") == {"loss": [(1, 3.0)]}


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    with (
        pytest.raises(RunError, match="dense: cannot be written"),
        training_log(tmp_path / "logs/dense"),
    ):
        pass


def test_a_full_disk_ends_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def run() -> None:
        with training_log(tmp_path / "dense") as log:
            log({"loss": 1.0}, 1)
            monkeypatch.setattr("tensorboardX.RecordWriter.write", full)
            log({"loss": 1.0}, 2)

    with pytest.raises(RunError, match=r"dense: cannot be written .*make room"):
        run()
    assert read_curves(tmp_path / "dense") == {"loss": [(1, 1.0)]}


@pytest.mark.parametrize(
    ("steps", "points", "expected"),
    [
        (1, 1000, [1]),
        (5, 5, [1, 2, 3, 4, 5]),
        (6, 5, [2, 4, 6]),
        (10, 3, [4, 8, 10]),
        (11, 2, [6, 11]),
    ],
)
def test_points_are_evenly_spaced_and_include_the_last(
    steps: int, points: int, expected: list[int]
) -> None:
    assert [step for step in range(1, steps + 1) if is_point(step, steps, points)] == expected


@pytest.mark.parametrize("steps", [1, 999, 1000, 1001, 8000, 120_001])
def test_number_of_points(steps: int) -> None:
    count = sum(is_point(step, steps, 1000) for step in range(1, steps + 1))
    assert min(steps, 500) <= count <= 1000
