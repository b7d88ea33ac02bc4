"""Every recipe that is shipped holds what the recipe's format asks for, and can be planned."""

from pathlib import Path

import pytest
import torch

from secateur.cli import main
from secateur.planning import plan
from secateur.recipe import load_recipe

FOLDER = Path(__file__).parents[1] / "recipes"
RECIPES = sorted(FOLDER.glob("*.yaml"))


def test_there_are_recipes() -> None:
    assert RECIPES, f"{FOLDER} holds no recipe"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_can_be_planned_without_its_pictures(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    with pytest.raises(SystemExit) as end:
        main(["compress", str(path), "--plan"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{recipe.name}: {recipe.model.network}")
    assert ("the pictures cannot be read" in said) == (recipe.data.format != "signs")
    assert "cannot come down" not in said
    assert "no phase takes filters from" not in said
    assert not any(tmp_path.iterdir()), "a plan writes nothing"


@pytest.mark.parametrize(
    ("name", "params", "macs"),
    # Exact counts at the published widths; MACs are 31.4 G and 90.2 G.
    [("ssd300_voc", 26_285_486, 31_373_537_792), ("ssd512_voc", 27_188_676, 90_207_908_864)],
)
def test_planned_counts(
    name: str, params: int, macs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = plan(load_recipe(FOLDER / f"{name}.yaml"))
    assert (made.params, made.macs) == (params, macs)
