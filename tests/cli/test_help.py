"""What ``--help`` says, and how wrong use is refused."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from commands import Outcome, one_error
from secateur.cli.main import app, main
from secateur.config.shipped import shipped_recipes
from secateur.export.table import EXPORTS, PRECISIONS
from secateur.run import pipeline
from secateur.runtimes.table import RUNTIMES

COMMANDS = (
    "compress",
    "train",
    "curve",
    "evaluate",
    "inspect",
    "export",
    "detect",
    "benchmark",
    "report",
    "compare",
    "scales",
    "sweep",
    "init",
    "recipes",
)


def listed(text: str) -> dict[str, str]:
    """The commands of the help with their descriptions, in order."""
    lines = text.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    return {name: rest for name, _, rest in (line.strip().partition(" ") for line in lines)}


def test_help_lists_every_command_with_its_description(secateur: Callable[..., Outcome]) -> None:
    outcome = secateur("--help")
    assert outcome.code == 0
    found = listed(outcome.out)
    assert tuple(found) == COMMANDS
    for name, description in found.items():
        text = description.strip()
        assert len(text.split()) > 3, name
        assert text.endswith("."), f"{name}: too long for one line of the help"
        assert not text.endswith("..."), f"{name}: too long for one line of the help"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_shows_an_example_that_is_valid(
    secateur: Callable[..., Outcome], command: str
) -> None:
    outcome = secateur(command, "--help")
    assert outcome.code == 0
    text = " ".join(outcome.out.split())
    example = text.rpartition("Example: secateur ")[2]
    name, *arguments = shlex.split(example)
    assert name == command
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    context = group.make_context("secateur", [], resilient_parsing=True)
    found = group.get_command(context, command)
    assert found is not None
    parameters = found.make_context(command, arguments).params
    if "recipe" in parameters:
        assert str(parameters["recipe"]) in shipped_recipes()


def test_help_names_what_the_tables_have(secateur: Callable[..., Outcome]) -> None:
    runtimes = f"--runtime {'|'.join(RUNTIMES)}"
    assert runtimes in secateur("detect", "--help").out
    assert runtimes in secateur("benchmark", "--help").out
    text = " ".join(secateur("export", "--help").out.split())
    assert f"--format {'|'.join(EXPORTS)}" in text
    assert f"--precision {'|'.join(PRECISIONS)}" in text
    for name, kind in EXPORTS.items():
        assert f"{name}: {kind.description}" in text
    tolerance = PRECISIONS["fp32"]
    assert tolerance is not None
    objects = f"{round(1000 * tolerance.share)} of 1,000 objects"
    limits = f"within {tolerance.pixels:g} pixels and {tolerance.score:g} of score"
    assert f"{objects} must have a counterpart {limits}" in text


def test_name_that_no_table_has_is_wrong_use(secateur: Callable[..., Outcome]) -> None:
    for arguments in (
        ("export", "x", "--format", "tflite"),
        ("export", "x", "--precision", "int4"),
        ("benchmark", "x", "--runtime", "torch", "--runtime", "tvm"),
        ("detect", "x", "y.png", "--out", "z", "--runtime", "tvm"),
    ):
        outcome = secateur(*arguments)
        assert outcome.code == 2
        assert f"'{arguments[-1]}' is not one of" in outcome.err


def test_help_needs_no_torch() -> None:
    script = (
        "import sys, secateur.cli.main\n"
        "try: secateur.cli.main.main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60)


def test_installed_command_prints_its_version() -> None:
    command = Path(sys.executable).with_name("secateur")
    done = subprocess.run([command, "--version"], check=True, capture_output=True, text=True)
    assert re.fullmatch(r"secateur \d+\.\d+\.\d+\n", done.stdout)


def test_unknown_option_is_wrong_use(secateur: Callable[..., Outcome]) -> None:
    outcome = secateur("inspect", "x", "--agains", "y")
    assert outcome.code == 2
    assert "--against" in outcome.err


def test_unknown_entry_names_the_nearest(secateur: Callable[..., Outcome], recipe: Path) -> None:
    outcome = secateur("compress", recipe, "--set", "train.step=3")
    one_error(outcome, recipe, "train.step", "did you mean steps?")
    one_error(outcome, f"{recipe}, with --set train.step=3: unknown entry train.step;")
    recipe.write_text(recipe.read_text() + "sed: 1\n")
    outcome = secateur("compress", recipe, "--set", "seed=3")
    one_error(outcome, f"{recipe}: unknown entry sed; did you mean seed?")


def test_missing_recipe(secateur: Callable[..., Outcome], tmp_path: Path) -> None:
    one_error(secateur("compress", tmp_path / "no [such].yaml"), tmp_path / "no [such].yaml")


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, recipe: Path) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(pipeline, "compress_recipe", fail)
    with pytest.raises(ZeroDivisionError):
        main(["compress", str(recipe)])
