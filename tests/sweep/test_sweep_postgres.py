"""A sweep with PostgreSQL as storage; skipped where PostgreSQL is not installed."""

import json
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.storages import RDBStorage

from commands import Outcome
from secateur.config.recipe import Recipe, load_recipe
from secateur.experiments.sweep import queue as queue_module
from secateur.experiments.sweep import trial as trial_module
from secateur.experiments.sweep.queue import GRACE, Queue
from secateur.experiments.sweep.storage import connected, open_study
from secateur.files.optional import quiet
from shapes import draw_voc_folder

ROOT = Path(__file__).parents[2]
STEPS = {"steps": 4, "batch_size": 4}
RECIPE: dict[str, Any] = {
    "name": "tiny",
    "data": {"format": "voc", "classes": ["square", "disc"], "validation": 0.25, "workers": 0},
    "model": {"size": 64, "widths": 0.04, "batch_norm": True, "detection_layers": 1},
    "train": STEPS,
    "compress": {
        "phases": [{"layers": "conv4_2-conv4_3"}],
        "sparsify": STEPS,
        "threshold": {"resolution": 0.5},
        "remove": {"batches": 2},
        "select": {"keep_params": 0.9, "min_filters": 1},
        "retrain": STEPS,
    },
}


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """URL of a database for these tests only."""
    tools = runpy.run_path(str(ROOT / "benchmarks/postgres.py"))
    programs = tools["find_programs"]()
    if programs is None:
        pytest.skip(
            "PostgreSQL is not installed (apt install postgresql); sweeps are tested on SQLite only"
        )
    with tools["own_postgres"](programs) as url:
        yield url


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    draw_voc_folder(root)
    path = root / "tiny.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, "data": {**RECIPE["data"], "root": str(root)}}))
    return path


def process(storage: RDBStorage, recipe: Recipe, wanted: int) -> Queue:
    """The queue as one more process sees it."""
    return Queue(open_study(storage, recipe, ["maximize", "minimize"], {}, "x"), wanted)


def test_processes_share_trials_and_lose_none(
    postgres: str, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = load_recipe(recipe, ["name=shared"])
    now = [1_800_000_000.0]
    monkeypatch.setattr(queue_module.time, "time", lambda: now[0])
    with quiet("optuna"), connected(postgres) as one, connected(postgres) as other:
        dead, alive = process(one, own, 2), process(other, own, 2)
        dead.enqueue_first({"x": 0.25})
        alive.enqueue_first({"x": 0.25})
        first, second = dead.take(), alive.take()
        assert first is not None
        assert second is not None
        assert first.suggest_float("x", 0, 1) == 0.25
        assert alive.take() is None
        alive.finish(second, {"steps": 4}, [90.0, 1e5])
        now[0] += GRACE + 1
        again = alive.take()
        assert again is not None
        assert again.suggest_float("x", 0, 1) == 0.25
        dead.finish(first, {}, [1.0, 2.0])  # too late
        alive.finish(again, {"steps": 4}, [80.0, 2e5])
        assert (alive.take(), alive.running(), dead.done()) == (None, [], 2)
        values = [trial.values for trial in dead.study.get_trials()]
        assert values == [None, [90.0, 1e5], [80.0, 2e5]]


def test_a_whole_sweep(
    postgres: str,
    recipe: Path,
    secateur: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trial_module, "broken", lambda *_: None)
    command = ["sweep", recipe, "--trials", 2, "--storage", postgres]
    first = secateur(*command, "--run", tmp_path / "a")
    assert first.code == 0, first.err
    assert not (tmp_path / "a/sweep.db").exists()
    # Another machine finds the completed sweep.
    second = secateur(*command, "--run", tmp_path / "b")
    assert second.code == 0, second.err
    assert "== trial" not in second.out
    a, b = (json.loads((tmp_path / name / "sweep.json").read_text("utf-8")) for name in "ab")
    assert a["trials"] == b["trials"]
    assert [row["state"] for row in a["trials"]] == ["complete", "complete"]
    assert len(a["front"]) >= 1
    for one, other in zip(a["front"], b["front"], strict=True):
        assert one["test"] == other["test"] is not None
        assert (tmp_path / "a" / one["network"]).is_file()
        assert other["network"] is None, "it is on the first machine"
        assert f"trial {one['trial']} is at " in second.out
        assert load_recipe(tmp_path / "b" / other["recipe"]) == load_recipe(
            tmp_path / "a" / one["recipe"]
        )
    with quiet("optuna"), connected(postgres) as storage:
        names = [name.partition(" ")[0] for name in optuna.get_all_study_names(storage)]
    assert sorted(names) == ["shared", "tiny"]
