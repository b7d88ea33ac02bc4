"""Whole sweeps by the real command, on a few drawn pictures."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import optuna
import pytest
from sqlalchemy.engine import make_url

from commands import Outcome, one_error
from secateur.benchmark.preparation import Conditions
from secateur.cli.main import main
from secateur.config.recipe import Recipe, load_recipe
from secateur.errors import BudgetError, DivergedError, PruningError, RunError
from secateur.experiments.sweep import trial as trial_module
from secateur.experiments.sweep.early_stopping import Finished
from secateur.experiments.sweep.storage import connected, default_storage
from secateur.experiments.sweep.storage_url import without_password
from secateur.files.optional import quiet
from secateur.models.network_file import load_network
from secateur.run.context import Run
from tiny_recipe import STEP, TINY, write_recipe

# Two layers can form one phase only.
RECIPE = {**TINY, "compress": {**TINY["compress"], "phases": [{"layers": "conv4_2-conv4_3"}]}}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("pictures"), RECIPE)


def arguments(recipe: Path, folder: Path, trials: int, *more: str) -> list[str]:
    return ["sweep", str(recipe), "--trials", str(trials), "--run", str(folder), *more]


@pytest.fixture(scope="module")
def swept(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a complete sweep."""
    folder: Path = tmp_path_factory.mktemp("swept") / "a [run]"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            trial_module, "broken", lambda *_: None
        )  # every network is, after so few steps
        with pytest.raises(SystemExit) as end:
            main(arguments(recipe, folder, 3))
    assert end.value.code == 0
    return folder


@pytest.fixture
def copied(swept: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(swept, tmp_path / "copy"))


def json_of(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def result_of(folder: Path) -> dict[str, Any]:
    return json_of(folder / "sweep.json")


def step(folder: Path, trial: int, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json_of(folder / f"trials/{trial}/steps/{name}/step.json")["result"]
    return found


def repeated(outcome: Outcome) -> list[str]:
    return [line for line in outcome.out.splitlines() if re.fullmatch(STEP, line)]


# ---- what a sweep finds ------------------------------------------------------------------------


def test_trials_are_what_their_runs_found(swept: Path) -> None:
    result = result_of(swept)
    assert (result["name"], result["metric"], result["split"]) == ("tiny", "AP50_area", "test")
    assert result["objectives"] == ["accuracy", "params", "macs"]
    trials = result["trials"]
    assert [(row["number"], row["state"]) for row in trials] == [(n, "complete") for n in range(3)]
    for row in trials:
        number, found = row["number"], row["outcome"]
        removed = step(swept, number, "phase1-remove")
        assert found["removed"] == removed["metrics"]["AP50_area"]
        assert (found["params"], found["macs"]) == (removed["params"], removed["macs"])
        retrained = step(swept, number, "phase1-retrain")
        assert found["accuracy"] == retrained["metrics"]["AP50_area"]
        assert (found["steps"], row["spared"], found["latency"]) == (10, 0, None)
    assert (result["steps"], result["spared"]) == (30, 0)
    assert len({row["outcome"]["params"] for row in trials}) == 3, "the choices differ"


def test_the_first_trial_is_the_recipe_itself(swept: Path, recipe: Path) -> None:
    first = load_recipe(swept / "trials/0/recipe.json")
    own = load_recipe(recipe)
    assert (first.compress, first.model, first.train) == (own.compress, own.model, own.train)
    chosen = result_of(swept)["trials"][0]["chosen"]
    assert chosen["sparsify.strength"] == 0.05
    assert chosen["select.keep_params"] == 0.9


def test_no_trial_dominates_a_point_of_the_front(swept: Path) -> None:
    result = result_of(swept)
    points = {
        row["number"]: (
            -row["outcome"]["accuracy"],
            row["outcome"]["params"],
            row["outcome"]["macs"],
        )
        for row in result["trials"]
    }
    expected = {
        number
        for number, point in points.items()
        if not any(
            other != point and all(a <= b for a, b in zip(other, point, strict=True))
            for other in points.values()
        )
    }
    assert {point["trial"] for point in result["front"]} == expected
    params = [point["params"] for point in result["front"]]
    assert params == sorted(params, reverse=True)
    for point in result["front"]:
        assert (-point["validation"], point["params"], point["macs"]) == points[point["trial"]]


def test_test_is_read_for_the_front_only(swept: Path) -> None:
    result = result_of(swept)
    front = {point["trial"] for point in result["front"]}
    for point in result["front"]:
        found = step(swept, point["trial"], "evaluate-slim")
        assert point["test"] == found["metrics"]
        assert set(point["test"]) >= {"AP50_area", "AP50_voc07", "AP_coco"}
        before = step(swept, point["trial"], "evaluate-dense")
        assert result["dense"]["test"] == before["metrics"]
        assert result["dense"]["params"] == before["params"]
        assert result["dense"]["macs"] == before["macs"]
    for row in result["trials"]:
        if row["number"] not in front:
            own = swept / f"trials/{row['number']}"
            assert not list(own.glob("steps/evaluate-*"))
            assert json_of(own / "recipe.json")["data"]["test"] is None


def test_trials_run_without_the_test_images(
    recipe: Path, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    root = Path(shutil.copytree(recipe.parent, tmp_path / "pictures"))
    lists = root / "ImageSets/Main"
    (lists / "test.txt").rename(lists / "later.txt")
    outcome = secateur(*arguments(recipe, tmp_path / "run", 1, "--set", f"data.root={root}"))
    assert outcome.code == 2
    assert "== trial 0 on test" in outcome.out, "no trial needed them"
    assert "test" in outcome.err


def test_each_point_has_a_recipe_and_its_network(
    swept: Path, recipe: Path, secateur: Callable[..., Outcome]
) -> None:
    for point in result_of(swept)["front"]:
        number = point["trial"]
        assert point["recipe"] == f"front/{number}.yaml"
        found = load_recipe(swept / point["recipe"])
        assert found == load_recipe(swept / f"trials/{number}/recipe.json")
        assert (found.name, found.data) == (f"tiny-{number}", load_recipe(recipe).data)
        assert f"{point['params']:,} parameters" in (swept / point["recipe"]).read_text()
        file = load_network(swept / point["network"])
        assert sum(p.numel() for p in file.model.parameters()) == point["params"]
        assert file.provenance["split"] == "test"
        assert secateur("compress", swept / point["recipe"], "--plan").code == 0


def test_trials_share_steps_and_one_dense_network(swept: Path) -> None:
    pool = [path.name for path in (swept / "pool").iterdir()]
    assert not any(name.startswith(".") for name in pool), "no draft is left"
    assert len([name for name in pool if name.startswith("dense-")]) == 1
    dense = swept / "steps/dense/network.safetensors"
    for number in range(3):
        assert (swept / f"trials/{number}/steps/dense/network.safetensors").samefile(dense)


def test_chart_shows_all_trials_and_names_the_front(swept: Path) -> None:
    svg = (swept / "sweep.svg").read_text("utf-8")
    front = [point["trial"] for point in result_of(swept)["front"]]
    assert "AP50_area on validation, %" in svg
    marks = [mark for mark in ElementTree.fromstring(svg).iter() if mark.get("class") == "mark"]  # noqa: S314 # our own
    points = sum(each.tag.endswith("}use") for mark in marks for each in mark.iter())
    assert points == 2 * (1 + 3), "dense and three trials, against two costs"
    for number in front:
        assert svg.count(f">{number}</text>") >= 2
    assert (swept / "sweep.png").read_bytes().startswith(b"\x89PNG")


# ---- resuming ----------------------------------------------------------------------------------


def test_the_same_command_again_trains_nothing_and_finds_the_same(
    copied: Path, recipe: Path, secateur: Callable[..., Outcome]
) -> None:
    before = result_of(copied)
    outcome = secateur(*arguments(recipe, copied, 3))
    assert outcome.code == 0, outcome.err
    assert repeated(outcome) == []
    again = result_of(copied)
    for content in (before, again):
        del content["provenance"]["date"]
    assert again == before
    lines = outcome.out.splitlines()
    assert lines[-3:] == [
        "3 trials: 3 complete; 30 of 30 training steps",
        f"written: {copied / 'sweep.json'}, with a chart in sweep.svg",
        f"recipes and networks of the front: {copied / 'front'}",
    ]
    one_error(secateur("report", copied), "is a sweep, not a run", f"{copied / 'trials'}")
    cells = [re.split(r"\s{2,}", line.strip()) for line in lines]
    head = next(row for row in cells if row[0] == "trial")
    assert head == ["trial", "AP50_area on validation", "on test", "parameters", "MACs"]
    dense = before["dense"]
    for point in before["front"]:
        (row,) = [row for row in cells if row[0] == str(point["trial"])]
        assert row[1:3] == [f"{point['validation']:.2f}", f"{point['test']['AP50_area']:.2f}"]
        times = dense["params"] / point["params"]
        assert row[3:5] == [f"{point['params']:,}", f"{times:.2f} times fewer"]


def test_more_trials_continue_a_sweep(
    copied: Path,
    recipe: Path,
    secateur: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trial_module, "broken", lambda *_: None)
    before = result_of(copied)
    (copied / "front/99.yaml").write_text("of an earlier front")
    outcome = secateur(*arguments(recipe, copied, 4))
    assert outcome.code == 0, outcome.err
    again = result_of(copied)
    assert again["trials"][:3] == before["trials"]
    assert (len(again["trials"]), again["trials"][3]["state"]) == (4, "complete")
    assert "== trial 3, 3 of 4 done: sparsify.strength " in outcome.out
    assert repeated(outcome)[:4] == [
        "phase1-sparsify",
        "phase1-threshold",
        "phase1-remove",
        "phase1-retrain",
    ]
    files = {f"{p['trial']}.{kind}" for p in again["front"] for kind in ("yaml", "safetensors")}
    assert {path.name for path in (copied / "front").iterdir()} == files


def test_an_interrupted_sweep_repeats_its_trial(
    copied: Path,
    recipe: Path,
    secateur: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trial_module, "broken", stop)  # after the sparsifying training
    outcome = secateur(*arguments(recipe, copied, 4))
    assert outcome.code == 130
    assert outcome.err.splitlines()[-1] == "stopped; give the same command again to resume"
    monkeypatch.setattr(trial_module, "broken", lambda *_: None)
    outcome = secateur(*arguments(recipe, copied, 4))
    assert outcome.code == 0, outcome.err
    *_, stopped, again = result_of(copied)["trials"]
    assert (stopped["state"], again["state"], again["repeats"]) == ("stopped", "complete", 3)
    assert again["chosen"] == stopped["chosen"]
    assert "phase1-sparsify" not in repeated(outcome), "it is in the pool"


# As in the fixture: every network is broken after so few steps, but no trial may stop early.
NEVER_BROKEN = """
import secateur.cli.main, secateur.experiments.sweep.trial
secateur.experiments.sweep.trial.broken = lambda *_: None
secateur.cli.main.main()
"""


def start(command: Sequence[str], *, give_up: bool = True) -> "subprocess.Popen[str]":
    program = ["-m", "secateur"] if give_up else ["-c", NEVER_BROKEN]
    return subprocess.Popen(
        [sys.executable, *program, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_a_killed_sweep_loses_no_trial(
    copied: Path,
    recipe: Path,
    secateur: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process = start(arguments(recipe, copied, 4), give_up=False)
    half_done = copied / "trials/3/steps/phase1-threshold"
    deadline = time.monotonic() + 240
    while not half_done.is_dir():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    monkeypatch.setattr(
        "secateur.experiments.sweep.queue.GRACE", 0.0
    )  # its last timestamp is too old
    monkeypatch.setattr(trial_module, "broken", lambda *_: None)
    outcome = secateur(*arguments(recipe, copied, 4))
    assert outcome.code == 0, outcome.err
    result = result_of(copied)
    *_, lost, again = result["trials"]
    assert [row["state"] for row in result["trials"]] == [*["complete"] * 3, "stopped", "complete"]
    assert (lost["number"], again["repeats"]) == (3, 3)
    assert again["chosen"] == lost["chosen"]
    assert "phase1-sparsify" not in repeated(outcome), "it is in the pool"


def test_two_processes_share_a_folder(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    processes = [start(arguments(recipe, folder, 3)) for _ in range(2)]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    result = result_of(folder)
    trials = [row for row in result["trials"] if row["state"] in ("complete", "given up")]
    assert [row["number"] for row in trials] == [0, 1, 2]
    assert {row["repeats"] for row in trials} == {None}
    assert len({json.dumps(row["chosen"]) for row in trials}) == 3, "no choice is tried twice"
    # One of them runs the steps that both need.
    steps = [line for output in outputs for line in output.splitlines()]
    assert steps.count("dense") == 1
    assert steps.count("evaluate-dense") == (1 if result["front"] else 0)
    for point in result["front"]:
        assert point["test"] is not None
        assert (folder / point["network"]).is_file()
    assert {row["worker"].rpartition(":")[2] for row in trials} <= {
        str(process.pid) for process in processes
    }


# ---- early stopping ----------------------------------------------------------------------------


def test_unpromising_trials_are_not_retrained(
    recipe: Path,
    secateur: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Sequence[Finished]] = []

    def outperformed(
        _removed: float, _params: int, _macs: int, finished: Sequence[Finished]
    ) -> str:
        seen.append(finished)
        return "trial 0 is no larger"

    monkeypatch.setattr(trial_module, "broken", lambda *_: None)
    monkeypatch.setattr(trial_module, "outperformed", outperformed)
    outcome = secateur(*arguments(recipe, tmp_path / "run", 3))
    assert outcome.code == 0, outcome.err
    result = result_of(tmp_path / "run")
    assert [row["state"] for row in result["trials"]] == ["complete", "given up", "given up"]
    # 4 steps with the penalty and 6 of retraining.
    assert [(row["outcome"]["steps"], row["spared"]) for row in result["trials"]] == [
        (10, 0),
        (4, 6),
        (4, 6),
    ]
    assert "3 trials: 1 complete, 2 stopped early; 18 of 30 training steps" in outcome.out
    assert outcome.out.count("  given up: phase1-remove: trial 0 is no larger\n") == 2
    for row in result["trials"][1:]:
        assert not (tmp_path / f"run/trials/{row['number']}/steps/phase1-retrain").exists()
        assert row["outcome"]["reason"] == "phase1-remove: trial 0 is no larger"
        assert row["outcome"]["accuracy"] is None
        assert row["outcome"]["params"] > 0
    own = result["trials"][0]["outcome"]
    finished = Finished(0, own["removed"], own["accuracy"], own["params"], own["macs"])
    assert seen == [[], [finished], [finished]]
    assert [point["trial"] for point in result["front"]] == [0]
    states = [trial.state.name for trial in trials_of(tmp_path / "run")]
    assert states == ["COMPLETE", "PRUNED", "PRUNED"]


def trials_of(folder: Path) -> list[optuna.trial.FrozenTrial]:
    with quiet("optuna"), connected(default_storage(folder)) as storage:
        (name,) = optuna.get_all_study_names(storage)
        return optuna.load_study(study_name=name, storage=storage).trials


def test_a_penalty_that_breaks_the_network_ends_its_trial(
    recipe: Path,
    secateur: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trial_module, "broken", lambda metric, dense: f"{metric}, {dense}")
    outcome = secateur(*arguments(recipe, tmp_path / "run", 2))
    assert outcome.code == 0, outcome.err
    first, second = result_of(tmp_path / "run")["trials"]
    assert (first["state"], first["outcome"]["steps"]) == ("complete", 10), "the recipe itself"
    assert (second["state"], second["outcome"]["steps"]) == ("given up", 4)
    metrics = (
        step(tmp_path / "run", 1, name)["metrics"]["AP50_area"]
        for name in ("phase1-sparsify", "dense")
    )
    assert second["outcome"]["reason"] == "phase1-sparsify: {}, {}".format(*metrics)
    assert {path.name for path in (tmp_path / "run/trials/1/steps").iterdir()} == {
        "dense",
        "phase1-sparsify",
    }


@pytest.mark.parametrize(
    "fault",
    [
        PruningError("phase 1 has nothing to penalise"),
        DivergedError("the training diverged at step 3 of 4"),
    ],
)
def test_a_choice_that_cannot_be_carried_out_ends_its_trial(
    fault: Exception,
    copied: Path,
    recipe: Path,
    secateur: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_run: Run, _watch: object) -> None:
        raise fault

    monkeypatch.setattr(trial_module, "run_phases", fail)
    outcome = secateur(*arguments(recipe, copied, 4))
    assert outcome.code == 0, outcome.err
    last = result_of(copied)["trials"][-1]
    assert (last["state"], last["outcome"]["reason"]) == ("given up", str(fault))


def test_an_impossible_choice_is_not_counted(
    copied: Path,
    recipe: Path,
    secateur: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    open_run, fault = trial_module.open_run, BudgetError("phase 1 cannot come down so far")
    opened: list[str] = []

    def fail_once(own: Recipe, *more: Any) -> Run:
        opened.append(own.name)
        if len(opened) == 1:
            raise fault
        return open_run(own, *more)

    monkeypatch.setattr(trial_module, "broken", lambda *_: None)
    monkeypatch.setattr(trial_module, "open_run", fail_once)
    outcome = secateur(*arguments(recipe, copied, 4))
    assert outcome.code == 0, outcome.err
    assert opened == ["tiny-3", "tiny-4"]
    assert f"  not possible, and not counted: {fault}\n" in outcome.out
    result = result_of(copied)
    *_, impossible, instead = result["trials"]
    assert (impossible["state"], impossible["spared"]) == ("not possible", 0)
    assert instead["state"] == "complete"
    assert "4 trials: 4 complete; 40 of 40 training steps" in outcome.out


def test_a_learning_rate_that_is_too_high_ends_its_trial(
    recipe: Path, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    """The error is a real one, of the training itself."""
    change = "compress.retrain.lr=1e30"
    outcome = secateur(*arguments(recipe, tmp_path / "run", 1, "--set", change))
    assert outcome.code == 0, outcome.err
    result = result_of(tmp_path / "run")
    assert [row["state"] for row in result["trials"]] == ["given up"]
    assert (result["front"], result["dense"]["test"]) == ([], None)


def test_a_full_disk_ends_the_sweep_but_not_the_trial(
    copied: Path,
    recipe: Path,
    secateur: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_run: Run, _watch: object) -> None:
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise RunError("network.safetensors: cannot be written; make room there") from error

    with monkeypatch.context() as patch:
        patch.setattr(trial_module, "run_phases", fail)
        outcome = secateur(*arguments(recipe, copied, 4))
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "make room there" in outcome.err
    monkeypatch.setattr(trial_module, "broken", lambda *_: None)
    assert secateur(*arguments(recipe, copied, 4)).code == 0
    last = result_of(copied)["trials"][-1]
    assert (last["state"], last["repeats"]) == ("complete", 3)


# ---- latency -----------------------------------------------------------------------------------


def test_latency_is_a_further_objective(
    recipe: Path,
    secateur: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trial_module, "broken", lambda *_: None)
    monkeypatch.setattr(trial_module, "TIMING", Conditions(runs=1))
    outcome = secateur(*arguments(recipe, tmp_path / "run", 1, "--latency"))
    assert outcome.code == 0, outcome.err
    result = result_of(tmp_path / "run")
    assert result["objectives"] == ["accuracy", "params", "macs", "latency"]
    (point,) = result["front"]
    assert point["latency"] > 0
    assert "ms per picture" in outcome.out
    assert "ms per picture" in (tmp_path / "run/sweep.svg").read_text("utf-8")


# ---- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--set", "train.steps=17"], "train.steps was 16, now 17"),
        (["--goal", "levels"], 'goal was "budget", now "levels"'),
        (["--latency"], "latency was false, now true"),
    ],
)
def test_another_recipe_is_refused(
    more: list[str],
    words: str,
    copied: Path,
    recipe: Path,
    secateur: Callable[..., Outcome],
) -> None:
    before = (copied / "recipe.json").read_bytes()
    outcome = secateur(*arguments(recipe, copied, 4, *more))
    one_error(outcome, "holds a sweep of tiny with another recipe", words, "--run")
    assert (copied / "recipe.json").read_bytes() == before


def test_other_data_are_refused_but_the_folder_may_move(
    copied: Path, recipe: Path, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    root = Path(shutil.copytree(recipe.parent, tmp_path / "elsewhere"))
    place = ["--set", f"data.root={root}", "--set", "data.workers=1"]
    outcome = secateur(*arguments(recipe, copied, 3, *place))
    assert outcome.code == 0, outcome.err
    assert repeated(outcome) == []
    names = root / "ImageSets/Main/train.txt"
    names.write_text(names.read_text().replace("00\n", ""))
    outcome = secateur(*arguments(recipe, copied, 3, *place))
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert str(root) in outcome.err
    assert "other pictures" in outcome.err


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:////no/such/folder/sweep.db", "unable to open database file"),
        ("postgresql://me:secret@127.0.0.1:9/sweeps", "refused"),
        ("mysql://me:secret@127.0.0.1:9/sweeps", "driver"),
        ("nothing", "--storage"),
        ("noql://host/name", "noql"),
        # The password in an option, before no host, with characters that end it, and as a port.
        ("postgresql://127.0.0.1:9/sweeps?user=me&password=secret", "refused"),
        ("postgresql://me@127.0.0.1:9/sweeps?sslpassword=secret", "refused"),
        ("postgresql://me@127.0.0.1:9/sweeps?password=secret&connect_timeout=secret", "timeout"),
        ("postgresql://me:secret", "%40"),
        ("postgresql://me:secret/sweeps", "%40"),
        ("postgresql:me:secret@127.0.0.1/sweeps", "%40"),
        ("postgresql://me:a@secret@127.0.0.1:9/sweeps", "%40"),
        ("postgresql://me:secret@127.0.0.1@9/sweeps", "%40"),
        ("postgresql://me:a/secret@127.0.0.1:9/sweeps", "refused"),
        ("postgresql://me:a%40secret@127.0.0.1:9/sweeps", "refused"),
        ("sqlite://me:secret@/sweeps", "Invalid"),
        ("secret", "%40"),
    ],
)
def test_storages_that_cannot_be_used(
    url: str,
    words: str,
    recipe: Path,
    secateur: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("secateur.experiments.sweep.storage._PAUSE", 0.0)
    outcome = secateur(*arguments(recipe, tmp_path / "run", 4, "--storage", url))
    one_error(outcome, words)
    assert "secret" not in outcome.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("url", "text", "shown_text"),
    [
        ("postgresql://me:a%40b@host/s", "no a@b, no a%40b", "no ***, no ***"),
        (
            "postgresql://host/s?password=x+y&sslpassword=zz",
            "'x y', x+y, zz, s",
            "'***', ***, ***, s",
        ),
        ("postgresql://me:4711/s", "port 4711", "port ***"),
        ("postgresql://me@host:5432/s", "port 5432", "port 5432"),
        ("sqlite:////folder/sweep.db", "unable to open", "unable to open"),
    ],
)
def test_messages_of_drivers_show_no_password(url: str, text: str, shown_text: str) -> None:
    # A password without a host is taken for the port of the host "me".
    assert without_password(text, make_url(url)) == shown_text


@pytest.mark.parametrize("package", ["optuna", "psycopg"])
def test_a_package_that_is_not_installed(
    package: str,
    recipe: Path,
    secateur: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    url = "postgresql://127.0.0.1:9/sweeps"
    outcome = secateur(*arguments(recipe, tmp_path / "run", 4, "--storage", url))
    one_error(outcome, package, "pip install 'secateur[sweep]'")


def test_help_shows_an_example(secateur: Callable[..., Outcome]) -> None:
    outcome = secateur("sweep", "--help")
    assert outcome.code == 0
    assert "Example: secateur sweep quickstart --trials 30" in outcome.out


def test_no_trial(recipe: Path, secateur: Callable[..., Outcome], tmp_path: Path) -> None:
    assert secateur(*arguments(recipe, tmp_path / "run", 0)).code == 2


def test_a_folder_that_is_a_file(
    recipe: Path, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    (tmp_path / "run").write_text("")
    one_error(secateur(*arguments(recipe, tmp_path / "run", 1)), tmp_path / "run")


def test_a_refused_recipe_does_not_block_another_one(
    recipe: Path, secateur: Callable[..., Outcome], tmp_path: Path
) -> None:
    for change in (
        "compress.select={keep_macs: 0.5, criterion: l1}",
        "compress.select={keep_macs: 0.001}",
    ):
        outcome = secateur(*arguments(recipe, tmp_path / "run", 1, "--set", change))
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    outcome = secateur(*arguments(recipe, tmp_path / "run", 1))
    assert outcome.code == 0, outcome.err
