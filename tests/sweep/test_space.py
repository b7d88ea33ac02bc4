"""The search space of a sweep, and the recipes of its trials."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FixedTrial

from secateur.config.architecture import recipe_architecture
from secateur.config.recipe import Recipe, load_recipe
from secateur.errors import BudgetError, RecipeError
from secateur.experiments.sweep.space import (
    OWN_PHASES,
    PHASES,
    Bounds,
    Goal,
    Space,
    described,
    search_space,
)
from secateur.models.architecture import Architecture
from secateur.run.phases import check_phases

FOLDER = Path(__file__).parents[2] / "src/secateur/config/recipes"
RECIPES = {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def architecture(recipe: Recipe) -> Architecture:
    return recipe_architecture(recipe, ("a", "b"))


def quickstart(*changes: str) -> Recipe:
    return load_recipe(RECIPES["quickstart"], changes)


def space(recipe: Recipe, goal: Goal = "budget") -> Space:
    return search_space(recipe, goal, architecture(recipe))


def test_ranges_surround_the_recipes_values() -> None:
    # The recipe: λ 0.002, lr 0.001 and 0.002, max_drop 2, keep_params 0.085, keep_macs 0.235.
    found = space(quickstart("compress.select.balance=1.5"))
    budgets = [found.entries.pop(f"select.{name}") for name in ("keep_params", "keep_macs")]
    assert found.entries == {
        "sparsify.strength": Bounds(0.0002, 0.02, log=True),
        "sparsify.lr": Bounds(0.00025, 0.004, log=True),
        "threshold.max_drop": Bounds(0, 5),
        "retrain.lr": Bounds(0.0005, 0.008, log=True),
        "select.balance": Bounds(0, 4),
    }
    assert budgets[0] == Bounds(0.02, 0.5, log=True)
    assert 0.02 < budgets[1].low < 0.03, "the share of MACs with 4 filters in each layer"
    assert budgets[1].high == 0.5
    assert found.own == {
        "sparsify.strength": 0.002,
        "sparsify.lr": 0.001,
        "threshold.max_drop": 2.0,
        "retrain.lr": 0.002,
        "select.keep_params": 0.085,
        "select.keep_macs": 0.235,
        "select.balance": 1.5,
        PHASES: OWN_PHASES,
    }


def test_the_lowest_budgets_can_just_be_met() -> None:
    recipe = quickstart()
    found = space(recipe)
    least = {key: found.entries[key].low for key in ("select.keep_params", "select.keep_macs")}
    check_phases(found.chosen_recipe({**found.own, **least}, 1), architecture(recipe))
    lower = {"select.keep_macs": 0.95 * least["select.keep_macs"]}
    with pytest.raises(BudgetError):
        check_phases(found.chosen_recipe({**found.own, **lower}, 1), architecture(recipe))


def test_only_the_named_budget_varies() -> None:
    one = space(quickstart("compress.select={keep_macs: 0.7}"))
    assert "select.keep_params" not in one.entries
    assert one.entries["select.keep_macs"].high == 0.7, "the recipe's own value can be chosen"
    none = space(quickstart("compress.select={max_drop: 1.0}"))
    assert {"select.keep_params", "select.keep_macs"} <= none.entries.keys()
    assert none.own["select.keep_params"] == pytest.approx(0.1)  # √(0.02 · 0.5)


def test_levels() -> None:
    levels = "compress.select={s_F: 0.995, s_F_both: 0.85, s_G: 0.9}"
    found = space(quickstart(levels), "levels")
    assert not [name for name in found.entries if "keep" in name or "balance" in name]
    assert found.entries["select.s_F"] == Bounds(0.3, 0.995)
    assert found.entries["select.s_G"] == Bounds(0.3, 0.99)
    chosen = {**found.own, "select.s_F": 0.6, "select.s_F_both": 0.8}
    select = found.chosen_recipe(chosen, 1).compress.select
    assert (select.s_F, select.s_F_both, select.s_G) == (0.6, 0.6, 0.9)
    assert (select.keep_params, select.max_drop) == (None, None)


def test_levels_of_a_recipe_with_budgets_start_in_the_middle() -> None:
    found = space(quickstart(), "levels")
    assert found.own["select.s_F"] == pytest.approx(0.645)
    assert found.chosen_recipe(found.own, 0).compress.select.keep_macs is None


def test_zero_does_not_vary_on_a_logarithmic_scale() -> None:
    found = space(quickstart("compress.sparsify.strength=0", "compress.threshold.max_drop=0"))
    assert "sparsify.strength" not in found.entries
    assert found.entries["threshold.max_drop"] == Bounds(0, 5)
    assert found.chosen_recipe(found.own, 3).compress.sparsify.strength == 0


def test_balance_varies_only_with_allocation_by_cost() -> None:
    assert (
        "select.balance"
        not in space(quickstart("compress.select={keep_macs: 0.3, allocation: share}")).entries
    )


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipe_itself_can_be_chosen(name: str) -> None:
    recipe = load_recipe(RECIPES[name])
    goal: Goal = "budget" if recipe.compress.select.s_F is None else "levels"
    found = space(recipe, goal)
    first = found.chosen_recipe(found.readable(found.own), 0)
    assert first.name == f"{recipe.name}-0"
    assert first.model_copy(update={"name": recipe.name}) == recipe
    for key, bounds in found.entries.items():
        assert bounds.low <= float(found.own[key]) <= bounds.high


def test_values_are_rounded_unless_they_are_the_recipes() -> None:
    found = space(quickstart("compress.sparsify.strength=0.00123456"))
    trial = {**found.own, "retrain.lr": 0.00123456, PHASES: "2"}
    chosen = found.readable(trial)
    assert chosen["sparsify.strength"] == 0.00123456
    assert chosen["retrain.lr"] == 0.001235
    assert chosen[PHASES] == "2"


def test_the_sampler_is_asked_for_every_entry() -> None:
    found = space(quickstart())
    values = {key: bounds.high for key, bounds in found.entries.items()}
    chosen = found.choose(FixedTrial({**values, PHASES: "3"}))  # type: ignore[arg-type]
    assert chosen == {**values, PHASES: "3"}
    recipe = found.chosen_recipe(chosen, 7)
    assert recipe.compress.sparsify.strength == 0.02
    assert recipe.compress.select.balance == 4
    assert recipe.compress.select.min_filters == 4, "other entries are the recipe's"


# ---- phases ------------------------------------------------------------------------------------


def test_choices_of_phases() -> None:
    found = space(quickstart())
    # The recipe itself has one phase.
    assert list(found.phases) == ["recipe", "2", "3", "4"]
    assert found.phases["2"] == ["conv1_1-conv4_3", "conv4_3-conv9_2"]
    # The four published phases are not four phases of equal length.
    found = space(load_recipe(RECIPES["ssd300_voc"]), "levels")
    assert list(found.phases) == ["recipe", "1", "2", "3", "4"]
    assert found.phases["1"] == ["conv1_1-conv11_2"]


def test_few_layers_make_few_phases() -> None:
    found = space(quickstart("compress.phases=[{layers: conv1_1-conv2_1}]"))
    assert list(found.phases) == ["recipe", "2"]


def test_phases_by_patterns_stay_as_they_are() -> None:
    found = space(quickstart("compress.phases=[{layers: backbone.features.*}]"))
    assert list(found.phases) == ["recipe"]


def test_other_phases_train_as_long_together() -> None:
    found = space(quickstart())
    recipe = found.chosen_recipe({**found.own, PHASES: "4"}, 1)
    assert [phase.layers for phase in recipe.compress.phases] == found.phases["4"]
    steps = [
        (sparsify.steps, retrain.steps)
        for _, sparsify, _, retrain in (recipe.phase(number) for number in (1, 2, 3, 4))
    ]
    assert steps == [(63, 213), (63, 213), (62, 212), (62, 212)]  # of 250 and 850


@pytest.mark.parametrize("name", ["quickstart", "vgg_gtsrb_laptop"])
def test_phases_can_be_carried_out(name: str) -> None:
    recipe = load_recipe(RECIPES[name])
    found = space(recipe)
    for phases in found.phases:
        check_phases(found.chosen_recipe({**found.own, PHASES: phases}, 1), architecture(recipe))


def test_entries_of_one_phase_are_scaled_with_the_common_ones() -> None:
    phases = (
        "compress.phases=[{layers: conv1_1-conv4_3, sparsify: {strength: 0.004}, "
        "retrain: {lr: 0.001, steps: 7}}, {layers: conv4_3-conv9_2, select: {keep_macs: 0.4}}]"
    )
    recipe = quickstart(phases)
    found = space(recipe)
    changed = found.chosen_recipe({**found.own, "sparsify.strength": 0.003, "retrain.lr": 0.004}, 1)
    _, sparsify, _, retrain = changed.phase(1)
    assert sparsify.strength == pytest.approx(0.006)
    assert (retrain.lr, retrain.steps) == (pytest.approx(0.002), 7)
    _, sparsify, select, retrain = changed.phase(2)
    assert (sparsify.strength, retrain.lr, select.keep_macs) == (0.003, 0.004, 0.235)


# ---- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("select", "goal", "words"),
    [
        ("{keep_macs: 0.3, criterion: l1}", "budget", "criterion is l1"),
        ("{keep_macs: 0.3, criterion: taylor}", "levels", "criterion is taylor"),
        ("{keep_macs: 0.3, criterion: sparsity_F}", "levels", "--goal budget"),
        ("{keep_macs: 0.3, allocation: share}", "levels", "--goal budget"),
    ],
)
def test_recipes_that_cannot_be_swept(select: str, goal: Any, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        space(quickstart(f"compress.select={select}"), goal)


def test_a_choice_in_one_line() -> None:
    assert (
        described({"sparsify.strength": 0.002, "select.keep_macs": 0.1235, PHASES: "2"})
        == "sparsify.strength 0.002, select.keep_macs 0.1235, phases 2"
    )


def test_a_repeated_trial_gets_the_same_choice() -> None:
    found = space(quickstart())
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"])
    study.enqueue_trial(found.own)
    trial = study.ask()
    assert found.choose(trial) == found.own
    assert found.choose(trial) == found.own
