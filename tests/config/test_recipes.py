"""Every recipe that is shipped holds what the recipe's format asks for, and can be planned."""

from pathlib import Path

import pytest
import torch

from secateur.cli.main import main
from secateur.config.compress import Select
from secateur.config.recipe import load_recipe
from secateur.errors import BudgetError, RecipeError
from secateur.run.plan import plan

FOLDER = Path(__file__).parents[2] / "src/secateur/config/recipes"
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
    assert "not pruned by any phase" not in said
    assert not any(tmp_path.iterdir()), "a plan writes nothing"


@pytest.mark.parametrize(("written", "read"), [("32", "32"), ("'32'", "32"), ("bf16", "bf16")])
def test_precision_needs_no_quotes(written: str, read: str) -> None:
    changes = [f"precision={written}"]
    assert load_recipe(FOLDER / "quickstart.yaml", changes).precision == read


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


def test_multiples_of_filters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = FOLDER / "quickstart.yaml"
    monkeypatch.chdir(tmp_path)
    for value, words in (
        ("1", ""),
        ("8", ", in multiples of 8"),
        ("auto", ", in multiples measured on onnxruntime"),
    ):
        recipe = load_recipe(path, [f"compress.select.round_to={value}"])
        assert plan(recipe).phases[0].goal == f"keep 8.5% of params and 23.5% of MACs{words}"
    for value in ("0", "-8", "2.5", "often", "null"):
        with pytest.raises(RecipeError, match="round_to: must be a whole number, 1 or more, or"):
            load_recipe(path, [f"compress.select.round_to={value}"])
    # Multiples of 64 leave more than some budgets: known before anything is trained.
    small = ["compress.select={keep_params: 0.1, round_to: 64}"]
    with pytest.raises(BudgetError, match=r"rounded up to round_to.* or round_to"):
        plan(load_recipe(path, small))


# ---- entries for comparison --------------------------------------------------------------------


def test_recipes_that_name_no_criterion_select_by_sparsity() -> None:
    recipe = load_recipe(FOLDER / "quickstart.yaml")
    _, sparsify, select, _ = recipe.phase(1)
    assert (select.criterion, select.allocation) == ("sparsity", None)
    assert select.settings.divides_by == "cost"
    assert select.settings.ranks_by.reads_zeros
    assert recipe.compress.threshold.scope == "global"
    assert sparsify.penalty == "proximal"


@pytest.mark.parametrize(
    ("criterion", "allocation", "by_sparsity"),
    [
        ("sparsity", "cost", True),
        ("sparsity_F", "cost", True),
        ("sparsity_G", "cost", True),
        ("l1", "share", False),
        ("l2", "share", False),
        ("geometric_median", "share", False),
        ("random", "share", False),
        ("norm_scale", "importance", False),
        ("taylor", "importance", False),
        ("group_norm", "importance", False),
    ],
)
def test_usual_allocation_of_a_criterion(
    criterion: str, allocation: str, by_sparsity: bool
) -> None:
    select = Select.model_validate({"keep_macs": 0.5, "criterion": criterion})
    assert select.settings.divides_by == allocation
    assert select.settings.ranks_by.reads_zeros == by_sparsity
    for other in ("cost", "share", "importance"):
        named = select.model_copy(update={"allocation": other})
        assert named.settings.divides_by == other


def test_criteria_that_have_a_use_for_the_sparsifying_training() -> None:
    for criterion in ("sparsity", "sparsity_F", "sparsity_G", "norm_scale", "group_norm"):
        select = Select.model_validate({"keep_macs": 0.5, "criterion": criterion})
        assert select.settings.ranks_by.sparsifies
    for criterion in ("l1", "l2", "geometric_median", "random", "taylor"):
        select = Select.model_validate({"keep_macs": 0.5, "criterion": criterion})
        assert not select.settings.ranks_by.sparsifies


LEVELS = "s_F: 0.9, s_F_both: 0.8, s_G: 0.8"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (f"compress.select={{{LEVELS}, criterion: l1}}", "needs a budget or max_drop, not levels"),
        (
            f"compress.select={{{LEVELS}, allocation: cost}}",
            "needs a budget or max_drop, not levels",
        ),
        (
            f"compress.phases.0.select={{{LEVELS}, criterion: taylor}}",
            r"compress\.phases\.0\.select: .*needs a budget or max_drop, not levels",
        ),
        (
            "compress.select.criterion=l3",
            "compress.select.criterion: must be one of sparsity, .*geometric_median",
        ),
        ("compress.select.criterion=null", "compress.select.criterion: "),
        ("compress.select.allocation=equal", "compress.select.allocation: .*'share'"),
        (
            "compress.select={keep_macs: 0.5, criterion: l1, round_to: 8}",
            "round_to needs alloc.*cost",
        ),
        (
            "compress.select={keep_macs: 0.5, allocation: importance, round_to: auto}",
            "round_to needs",
        ),
        ("compress.threshold.scope=net", "compress.threshold.scope: .*'layer'"),
        (
            "compress.sparsify.penalty=scale",
            "compress.sparsify.penalty: must be one of proximal, .*norm_scale",
        ),
        ("compress.select.critrion=l1", "unknown entry .*critrion; did you mean criterion"),
        (
            "compress.phases.0.sparsify={step: 500}",
            r"unknown entry compress\.phases\.0\.sparsify\.step; did you mean steps",
        ),
        ("compress.phases.0.retrain={lr: -1}", r"compress\.phases\.0\.retrain\.lr: .*greater"),
    ],
)
def test_entries_that_do_not_go_together(change: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words) as error:
        load_recipe(FOLDER / "quickstart.yaml", [change])
    assert "\n" not in str(error.value)


def test_entries_that_go_together() -> None:
    for change in (
        "compress.select={keep_macs: 0.5, criterion: l1, allocation: cost, round_to: 8}",
        "compress.select={keep_params: 0.5, criterion: random, allocation: importance}",
        "compress.select={max_drop: 2, criterion: taylor}",
        "compress.select={keep_macs: 0.5, criterion: sparsity_G, round_to: auto}",
        "compress.phases.0.select={keep_macs: 0.5, criterion: norm_scale}",
        "compress.threshold.scope=layer",
        "compress.sparsify.penalty=norm_scale",
    ):
        load_recipe(FOLDER / "quickstart.yaml", [change])


def test_a_plan_refuses_what_the_run_would() -> None:
    for change, words in (
        ("compress.select.criterion=norm_scale", "go together"),
        (
            "compress.sparsify={steps: 9, penalty: group_norm, group_strength: 1}",
            "group_strength cannot be combined",
        ),
    ):
        changes = [change, "compress.select.criterion=group_norm"][: 2 if "group" in change else 1]
        with pytest.raises(RecipeError, match=words):
            plan(load_recipe(FOLDER / "quickstart.yaml", changes))


def test_a_plan_shows_no_training_that_will_not_be() -> None:
    made = plan(load_recipe(FOLDER / "quickstart.yaml", ["compress.select.criterion=l1"]))
    assert [phase.sparsify_steps for phase in made.phases] == [0]


def test_a_norm_needs_more_than_one_value() -> None:
    """The last map of SSD300 is one cell."""
    changes = ["model={network: ssd300, batch_norm: true}", "train.batch_size=1"]
    with pytest.raises(RecipeError, match="batch_size: with one picture per process"):
        plan(load_recipe(FOLDER / "ssd300_voc.yaml", changes))
    plan(load_recipe(FOLDER / "ssd300_voc.yaml", [changes[0], "train.batch_size=2"]))
    plan(load_recipe(FOLDER / "ssd300_voc.yaml", ["model.batch_norm=false", changes[1]]))


def test_each_phase_keeps_its_own_least_filters() -> None:
    select = "compress.phases.1.select={keep_params: 0.15, min_filters: 1024}"
    with pytest.raises(BudgetError, match="phase 2 cannot come down to"):
        plan(load_recipe(FOLDER / "ssd300_voc.yaml", [select]))


def test_inputs_have_the_networks_own_size() -> None:
    recipe = load_recipe(FOLDER / "ssd512_voc.yaml")
    assert (recipe.model.size, recipe.model.input_size) == (None, 512)
    assert load_recipe(FOLDER / "quickstart.yaml").model.input_size == 128
    assert load_recipe(FOLDER / "vgg16_cifar10.yaml").model.input_size == 32


def test_a_plan_tells_of_a_budget_that_is_not_assured() -> None:
    budget = "compress.phases.1.select={keep_params: 0.5}"
    notes = plan(load_recipe(FOLDER / "ssd300_voc.yaml", [budget])).notes
    assert notes[1:] == (
        "whether phase 2 can meet its budget is unknown, because a phase before it has none",
    )
    assert len(plan(load_recipe(FOLDER / "ssd300_voc.yaml")).notes) == 1


def test_layers_that_are_ignored_are_in_no_phase() -> None:
    quickstart = FOLDER / "quickstart.yaml"
    (whole,) = plan(load_recipe(quickstart)).phases
    # By the name that the network gives a layer, and by a pattern of paths.
    made = plan(load_recipe(quickstart, ["compress.ignore=[conv3_1, backbone.extra.2.*]"]))
    left = made.phases[0].filters
    assert left == {name: n for name, n in whole.filters.items() if name in left}
    assert whole.filters.keys() - left.keys() == {"conv3_1", "conv9_1", "conv9_2"}
    assert "conv3_1" in made.untouched
    for ignore, words in (
        ("[conv33]", r"phase conv1_1-.*: 'conv33' matches no layer that produces channels; did"),
        ("['*']", "all its layers are ignored; ignore fewer, or drop the phase"),
    ):
        with pytest.raises(RecipeError, match=words):
            plan(load_recipe(quickstart, [f"compress.ignore={ignore}"]))
