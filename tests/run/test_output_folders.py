"""Folders that commands write: what is refused, and what is never deleted."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest

from commands import Outcome, one_error
from secateur.cli.main import main
from secateur.errors import RunError
from secateur.experiments.sweep.finish import FRONT_FILES
from secateur.report.figures import is_key
from secateur.run.folder import (
    COMPARISON,
    RUN,
    SCALES,
    STEP_FILES,
    Kind,
    check_folder,
    delete_own,
)
from tiny_recipe import TINY, write_recipe


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("pictures"), TINY)


@pytest.fixture(scope="module")
def finished(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    run = tmp_path_factory.mktemp("finished") / "run"
    with pytest.raises(SystemExit) as end:
        main(["compress", str(recipe), "--run", str(run)])
    assert end.value.code == 0
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return shutil.copytree(finished, tmp_path / "run")


def content(folder: Path) -> dict[str, bytes | str]:
    """All files and links of a folder, and what is in them."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else ""
        for path in sorted(folder.rglob("*"))
    }


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"content of {name}")


def test_a_run_writes_names_that_are_known_as_its_own(finished: Path) -> None:
    top = {path.name for path in finished.iterdir()} - {".lock"}
    assert {name for name in top if not any(map(Path(name).match, (*RUN.late, RUN.mark)))} == set()
    written = {path.name for path in finished.glob("steps/*/*")}
    assert {name for name in written if not any(map(Path(name).match, STEP_FILES))} == set()
    assert written >= {"step.json", "output.json", "network.safetensors", "01.jpg"}
    figures = {path.stem for path in (finished / "figures").iterdir()}
    assert {key for key in figures if not is_key(key)} == set()
    assert len(figures) > 10


@pytest.mark.parametrize("command", ["compress", "train", "compare", "scales", "sweep --trials 1"])
def test_a_folder_of_other_files_is_refused_and_unchanged(
    command: str, secateur: Callable[..., Outcome], recipe: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "project"
    fill(theirs, "figures/mine.png", "steps/dense/notes.txt", "logs/a", "pool/b", "seeds")
    before = content(theirs)
    outcome = secateur(*command.split(), recipe, "--run", theirs)
    one_error(outcome, f"{theirs}: holds figures but is not the folder of", "empty folder with")
    assert content(theirs) == before


def test_a_folder_with_a_recipe_is_not_a_run(
    secateur: Callable[..., Outcome],
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copy(recipe, tmp_path / "recipe.json")  # YAML, but of the name of a run's recipe
    fill(tmp_path, "figures/mine.png", "report.html")
    before = content(tmp_path)
    monkeypatch.chdir(tmp_path)
    for command in ("compress recipe.json --run .", "report ."):
        outcome = secateur(*command.split())
        assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
        assert content(tmp_path) == before


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (RUN, ()),
        (RUN, (".lock", ".recipe.json.7.part", ".DS_Store")),
        (RUN, ("sweep.db", "sweep.db-journal")),
        (COMPARISON, ("seed0/ours/keep0.3/steps.json", "pool/dense-1/step.json", "locks/dense-1")),
        (SCALES, ("k1/seed0/steps.json",)),
    ],
)
def test_a_folder_that_a_killed_command_left_is_accepted(
    kind: Kind, names: tuple[str, ...], tmp_path: Path
) -> None:
    check_folder(tmp_path / "absent", kind)
    fill(tmp_path, *names)
    check_folder(tmp_path, kind)


@pytest.mark.parametrize("kind", [RUN, COMPARISON, SCALES], ids=lambda kind: kind.name)
def test_a_folder_is_recognised_by_its_mark(kind: Kind, tmp_path: Path) -> None:
    mark = tmp_path / kind.mark
    fill(tmp_path, "notes.md", "figures/mine.png")
    for other in ("[]", "{}", '{"steps.json": 1}', "7"):
        mark.write_text(other)
        with pytest.raises(RunError, match="is not the folder of a"):
            check_folder(tmp_path, kind)
    # A damaged one is written again.
    for own in (json.dumps({kind.entry: []}), "", '{"st', "\0", "[" * 100_000):
        mark.write_text(own)
        check_folder(tmp_path, kind)
    mark.unlink()
    mark.mkdir()
    with pytest.raises(RunError, match="is not the folder of a"):
        check_folder(tmp_path, kind)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_mark_without_permission_is_named(tmp_path: Path) -> None:
    mark = tmp_path / RUN.mark
    mark.write_text('{"steps": []}')
    mark.chmod(0)
    with pytest.raises(RunError, match=r"steps\.json: cannot be read \(Permission denied\); make"):
        check_folder(tmp_path)


LINKS = (
    *("steps", "figures", "logs", "steps/dense", "steps/dense/network.safetensors"),
    *("steps/examples/01.jpg", "logs/dense", "figures/headline.svg"),
    *("recipe.json", "steps.json", "summary.json", "report.html", "slim.safetensors", ".lock"),
)


@pytest.mark.parametrize("name", LINKS)
def test_links_in_a_run_are_refused(
    name: str, secateur: Callable[..., Outcome], recipe: Path, run: Path, tmp_path: Path
) -> None:
    link, elsewhere = run / name, tmp_path / "elsewhere"
    link.rename(elsewhere)
    link.symlink_to(elsewhere)
    before = content(tmp_path)
    for command in (("compress", recipe, "--run", run, "--set", "seed=6"), ("report", run)):
        one_error(secateur(*command), f"error: {link}: is a link, ", "; replace it by what it")
        assert content(tmp_path) == before
    # The cure.
    link.unlink()
    elsewhere.rename(link)
    assert secateur("report", run).code == 0


def test_links_that_lead_nowhere_or_to_the_run_itself_are_refused(
    secateur: Callable[..., Outcome], recipe: Path, run: Path
) -> None:
    shutil.rmtree(run / "figures")
    for target in ("nowhere", ".", "steps", "/"):
        (run / "figures").symlink_to(target)
        for command in (
            ("compress", recipe, "--run", run),
            ("train", recipe, "--run", run),
            ("sweep", recipe, "--run", run, "--trials", 1),
            ("report", run, "--markdown"),
            ("report", run, run.parent),
        ):
            one_error(secateur(*command), f"error: {run / 'figures'}: is a link, ")
        (run / "figures").unlink()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (RUN, "pool/dense-1"),
        (RUN, "trials/3"),
        (RUN, "front"),
        (RUN, "sweep.db"),
        (RUN, ".process1"),
        (RUN, "steps/dense/.network.safetensors.7.part"),
        (COMPARISON, "pool/dense-1"),
        (COMPARISON, "pool/dense-1/network.safetensors"),
        (COMPARISON, "seed0/ours"),
        (COMPARISON, "comparison.svg"),
        (SCALES, "k1"),
    ],
)
def test_links_in_a_series_are_refused(kind: Kind, name: str, tmp_path: Path) -> None:
    fill(tmp_path, "outside/file")
    folder = tmp_path / "series"
    folder.mkdir()
    (folder / kind.mark).write_text(json.dumps({kind.entry: []}))
    check_folder(folder, kind)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / "outside")
    with pytest.raises(RunError) as error:
        check_folder(folder, kind)
    assert str(error.value).startswith(f"{folder / name}: is a link, and a {kind.name} follows")
    assert content(tmp_path / "outside") == {"file": b"content of outside/file"}


def test_a_run_folder_may_be_reached_by_a_link(
    secateur: Callable[..., Outcome], recipe: Path, run: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(run)
    (run / "data").symlink_to(recipe.parent)  # of the user: no command looks at it
    again = secateur("compress", recipe, "--run", link)
    assert (again.code, again.out.count(": found")) == (0, 8), again.out
    assert secateur("report", link).code == 0


def test_only_what_a_run_wrote_is_deleted(
    secateur: Callable[..., Outcome], recipe: Path, run: Path
) -> None:
    stale = ("figures/selection-phase9-conv1_1.svg", "figures/selection-phase9-conv1_1.png")
    theirs = (
        *("notes.md", "slim.onnx", "figures/mine.png", "figures/selection.svg", "figures/a/b.png"),
        *("steps/mine/step.json", "steps/dense/network.onnx", "steps/examples/pictures/a.jpg"),
        *("logs/dense/notes.txt", "logs/other/events.out.tfevents.1"),
    )
    fill(run, *theirs, *stale)
    before = content(run)
    again = secateur("compress", recipe, "--run", run, "--set", "seed=6")
    assert again.code == 0, again.err
    assert "dense: redone" in again.out
    after = content(run)
    assert {name: after.get(name) for name in theirs} == {name: before[name] for name in theirs}
    assert not set(stale) & set(after)
    assert after["steps/dense/network.safetensors"] != before["steps/dense/network.safetensors"]
    assert len(list((run / "logs/dense").glob("events.*"))) == 2  # of the training and its metric


def test_a_changed_recipe_loses_no_step(
    secateur: Callable[..., Outcome], recipe: Path, run: Path
) -> None:
    before = {path: path.read_bytes() for path in run.glob("steps/*/*") if path.is_file()}
    again = ("compress", recipe, "--run", run)
    changed = secateur(*again, "--set", "train.steps=2")
    assert f"\n  the earlier one is kept in {run}/steps/replaced/dense-" in changed.out
    back = secateur(*again)
    assert (back.code, back.out.count(": found again, as an earlier recipe made it")) == (0, 8)
    assert {path: path.read_bytes() for path in before} == before


def test_weights_that_cannot_be_downloaded_change_nothing(
    secateur: Callable[..., Outcome], recipe: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    before = content(run)
    weights = "model.weights=torchvision:VGG16_BN_Weights.IMAGENET1K_V1"
    for command in ("compress", "train"):
        outcome = secateur(command, recipe, "--run", run, "--set", weights)
        one_error(outcome, "the download failed", "no route to host", "name a file")
        assert content(run) == before


def test_a_comparison_of_runs_replaces_no_page_of_others(
    secateur: Callable[..., Outcome], run: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(run, tmp_path / "other")
    page = tmp_path / "report.html"
    page.write_text("<!doctype html><title>of someone else</title>")
    one_error(secateur("report", run, other), f"{page}: was not written by secateur", "--out")
    assert "someone else" in page.read_text()
    page.unlink()
    for _ in range(2):  # its own is replaced
        assert secateur("report", run, other).code == 0


def test_an_earlier_front_is_deleted_and_no_other_file(tmp_path: Path) -> None:
    fill(tmp_path, "3.yaml", "3.safetensors", "12.yaml", "3.onnx", "notes.yaml", "4/a")
    delete_own(tmp_path, FRONT_FILES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3.onnx", "4", "notes.yaml"]
    delete_own(tmp_path / "absent", FRONT_FILES)
    fill(tmp_path, "front/1.yaml")
    delete_own(tmp_path / "front", FRONT_FILES)
    assert not (tmp_path / "front").exists()
