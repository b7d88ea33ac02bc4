"""``secateur recipes``, and recipes that are named instead of being files."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from commands import Outcome, one_error
from secateur.config.recipe import load_recipe
from secateur.config.shipped import find_recipe, shipped_recipes

NAMES = (
    "gtsdb_backbone",
    "gtsdb_laptop",
    "quickstart",
    "ssd300_gtsdb",
    "ssd300_voc",
    "ssd512_gtsdb",
    "ssd512_voc",
    "vgg16_cifar10",
    "vgg16_gtsrb",
    "vgg_gtsrb_laptop",
)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shipped recipes are found from any folder."""
    monkeypatch.chdir(tmp_path)


def test_recipes_are_listed(secateur: Callable[..., Outcome]) -> None:
    outcome = secateur("recipes")
    assert outcome.code == 0, outcome.err
    rows = [re.split(r"\s{2,}", line.strip()) for line in outcome.out.splitlines() if line.strip()]
    assert rows[0] == ["recipe", "what it does", "what it needs"]
    assert tuple(row[0] for row in rows[2:]) == NAMES
    by_name = {row[0]: row[1:] for row in rows[2:]}
    assert by_name["quickstart"] == [
        "Quick start: a narrow SSD on drawn traffic signs; a few minutes on a laptop.",
        "nothing; the pictures are drawn on first use",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_recipe_says_what_it_needs(name: str) -> None:
    shipped = shipped_recipes()[name]
    assert shipped.text.startswith(f"# {shipped.summary}\n")
    content = yaml.safe_load(shipped.text)
    assert content["name"] == name
    data, weights = content["data"], content["model"].get("weights") or ""
    assert (data["root"] in shipped.needs) == (data["format"] != "signs")
    other = re.fullmatch(r"runs/(\w+)/dense.safetensors", weights)
    trained_first = re.findall(r"'secateur train (\w+)'", shipped.needs)
    assert trained_first == ([other[1]] if other else [])


def test_a_copy_can_be_edited(secateur: Callable[..., Outcome], tmp_path: Path) -> None:
    printed = secateur("recipes", "quickstart")
    assert printed.code == 0
    out = tmp_path / "a [new] folder/mine.yaml"
    copied = secateur("recipes", "quickstart", "--out", out)
    assert copied.code == 0, copied.err
    assert copied.out == f"recipe written to {out}; next: secateur compress {out} --plan\n"
    assert out.read_text("utf-8") == printed.out == shipped_recipes()["quickstart"].text
    assert load_recipe(out) == load_recipe(Path("quickstart"))
    one_error(secateur("recipes", "ssd300_voc", "--out", out), out, "not overwritten")
    assert out.read_text("utf-8") == printed.out


def test_a_recipe_that_is_not_shipped(secateur: Callable[..., Outcome]) -> None:
    hint = "is neither a file nor a shipped recipe; did you mean quickstart?"
    for command in ("compress", "train", "recipes"):
        one_error(secateur(command, "quickstrat"), f"quickstrat: {hint}")
    one_error(secateur("recipes", "ssd300"), "did you mean ssd300_voc")
    one_error(secateur("compress", "zzz"), "zzz: is neither", "'secateur recipes' lists them")
    one_error(secateur("compress", "recipes/quickstart.yaml"), "no such recipe")
    outcome = secateur("recipes", "--out", "x.yaml")
    assert outcome.code == 2
    assert "NAME" in outcome.err
    assert not Path("x.yaml").exists()


def test_a_file_is_preferred_to_the_shipped_recipe_of_its_name(tmp_path: Path) -> None:
    shipped = find_recipe(Path("quickstart"))
    assert shipped.name == "quickstart.yaml"
    Path("quickstart").mkdir()
    assert find_recipe(Path("quickstart")) == shipped
    Path("quickstart").rmdir()
    Path("quickstart").write_text("name: own\n")
    assert find_recipe(Path("quickstart")) == Path("quickstart")
    assert find_recipe(tmp_path / "quickstart") == tmp_path / "quickstart"


def test_a_named_recipe_with_a_change_is_planned(secateur: Callable[..., Outcome]) -> None:
    outcome = secateur("compress", "ssd300_voc", "--plan", "--set", "model.widths=0.1")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("ssd300_voc: ssd300, 300 by 300 pixels, 20 classes\n")


def test_recipes_needs_no_torch() -> None:
    script = (
        "import sys, secateur.cli.main\n"
        "try: secateur.cli.main.main(['recipes'])\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert b"quickstart" in done.stdout
