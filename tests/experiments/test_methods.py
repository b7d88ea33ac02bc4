"""The recipes of the methods to compare."""

from pathlib import Path
from typing import Any

import pytest

from secateur.config.architecture import recipe_architecture
from secateur.config.recipe import Recipe, load_recipe
from secateur.errors import RecipeError
from secateur.experiments.methods import (
    METHODS,
    OURS,
    SCRATCH,
    default_methods,
    find_method,
    method_recipe,
    scratch_recipe,
)
from secateur.models.architecture import Architecture
from secateur.run.phases import check_phases

FOLDER = Path(__file__).parents[2] / "src/secateur/config/recipes"
RECIPES = {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}
BASELINES = ["random", "l1", "l2", "geometric_median", "norm_scale", "taylor", "group_norm"]
ABLATIONS = [
    "uniform",
    "layer_threshold",
    "F_only",
    "G_only",
    "no_penalty",
    "subgradient",
    "no_balance",
]
ABLATIONS += ["no_recalibration", "no_reconstruction", "reconstruction"]
ABLATIONS += ["one_phase", "four_phases"]
SPARSIFYING = ("sparsity", "sparsity_F", "sparsity_G", "norm_scale", "group_norm")
MORE = ["gradual", "distill", "fine_tune"]


def quickstart(*changes: str) -> Recipe:
    return load_recipe(RECIPES["quickstart"], changes)


def pictures(recipe: Recipe) -> int:
    """Count the pictures of all trainings, one step at a time."""
    seen = 0
    for _ in range(recipe.train.steps):
        seen += recipe.train.batch_size
    for number in range(1, len(recipe.compress.phases) + 1):
        _, sparsify, select, retrain = recipe.phase(number)
        if select.criterion in SPARSIFYING:
            for _ in range(sparsify.steps):
                seen += sparsify.batch_size
        for _ in range(retrain.steps):
            seen += retrain.batch_size
    return seen


def dumped(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(mode="json")


def test_names() -> None:
    assert list(METHODS) == [OURS, *BASELINES, SCRATCH, *ABLATIONS, *MORE]
    assert all(method.about for method in METHODS.values())
    assert len({method.about for method in METHODS.values()}) == len(METHODS)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_fits_every_recipe(name: str, method: str) -> None:
    recipe = load_recipe(RECIPES[name])
    changed = method_recipe(recipe, method, 0.3, 7)
    assert changed.seed == 7
    for entry in ("name", "precision", "data", "model", "train", "evaluate"):
        assert getattr(changed, entry) == getattr(recipe, entry)
    if METHODS[method].phases is None:
        assert [p.layers for p in changed.compress.phases] == [
            p.layers for p in recipe.compress.phases
        ]
    for number in range(1, len(changed.compress.phases) + 1):
        select = changed.phase(number)[2]
        assert (select.keep_macs, select.keep_params, select.max_drop) == (0.3, None, None)
        assert select.min_filters == recipe.compress.select.min_filters
    # The recipe file of a run folder can be read back.
    assert Recipe.model_validate(dumped(changed)) == changed


@pytest.mark.parametrize("name", RECIPES)
def test_all_methods_see_the_same_number_of_images(name: str) -> None:
    recipe = load_recipe(RECIPES[name])
    wanted = pictures(method_recipe(recipe, OURS, 0.3, 0))
    for method in METHODS:
        assert pictures(method_recipe(recipe, method, 0.3, 0)) == wanted, method
    scratch = scratch_recipe(recipe, {"conv1_1": 3}, 0)
    assert scratch.train.steps * scratch.train.batch_size == wanted


def test_images_where_steps_differ_by_phase() -> None:
    recipe = quickstart(
        "compress.phases=[{layers: conv1_1-conv4_3, sparsify: {steps: 30, batch_size: 16}}, "
        "{layers: conv4_3-conv9_2, retrain: {steps: 100, batch_size: 32, lr: 0.5}}]"
    )
    wanted = 1500 * 8 + 30 * 16 + 850 * 8 + 250 * 8 + 100 * 32
    assert pictures(method_recipe(recipe, OURS, 0.3, 0)) == wanted
    baseline = method_recipe(recipe, "l1", 0.3, 0)
    first, second = (baseline.phase(number)[3] for number in (1, 2))
    assert (first.steps, first.batch_size, first.lr) == (850 + 60, 8, 0.002)
    assert (second.steps, second.batch_size, second.lr) == (100 + 62, 32, 0.5)
    # 250 steps of 8 pictures are 62.5 steps of 32.
    assert pictures(baseline) == wanted - 16
    assert scratch_recipe(recipe, {}, 0).train.steps * 8 == wanted


def changes(method: str) -> dict[str, Any]:
    """Entries in which the recipe of a method differs from ours."""
    ours, other = (
        dumped(method_recipe(quickstart(), name, 0.3, 0))["compress"] for name in (OURS, method)
    )
    found = {}
    for section in ours:
        if section == "phases":
            if other[section] != ours[section]:
                (found[section],) = other[section]
        elif isinstance(ours[section], dict):
            for entry, value in other[section].items():
                if value != ours[section][entry]:
                    found[f"{section}.{entry}"] = value
    return found


LONGER = {
    "layers": "conv1_1-conv9_2",
    "sparsify": {},
    "retrain": {"steps": 850 + 250},
    "select": {},
}


# No published criterion comes with a reconstruction.
PUBLISHED = {"remove.reconstruct": False}


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (OURS, {}),
        *(
            (name, {"select.criterion": name, "phases": LONGER, **PUBLISHED})
            for name in ("random", "l1", "l2", "geometric_median", "taylor")
        ),
        (
            "norm_scale",
            {
                "select.criterion": "norm_scale",
                "sparsify.penalty": "norm_scale",
                "sparsify.strength": 0.1,
                **PUBLISHED,
            },
        ),
        (
            "group_norm",
            {
                "select.criterion": "group_norm",
                "sparsify.penalty": "group_norm",
                "sparsify.strength": 5e-3,
                "sparsify.weight_decay": 0.0,
                **PUBLISHED,
            },
        ),
        ("uniform", {"select.allocation": "share"}),
        ("layer_threshold", {"threshold.scope": "layer"}),
        ("F_only", {"select.criterion": "sparsity_F"}),
        ("G_only", {"select.criterion": "sparsity_G"}),
        ("no_penalty", {"sparsify.strength": 0.0}),
        ("subgradient", {"sparsify.penalty": "subgradient"}),
        ("no_balance", {"select.balance": 0.0}),
        (
            "one_phase",  # the recipe's own, with the steps in the phase
            {
                "phases": {
                    "layers": "conv1_1-conv9_2",
                    "sparsify": {"steps": 250},
                    "retrain": {"steps": 850},
                    "select": {},
                }
            },
        ),
        (
            "no_recalibration",
            {
                "remove.reconstruct": False,
                "remove.fold_means": False,
                "remove.reestimate_norms": False,
            },
        ),
        ("no_reconstruction", {"remove.reconstruct": False}),
        ("reconstruction", {"select.criterion": "reconstruction", "phases": LONGER}),
        ("distill", {"retrain.distill": 1.0}),
        ("fine_tune", {"retrain.lr": 2e-4}),
    ],
)
def test_what_a_method_changes(method: str, expected: dict[str, Any]) -> None:
    assert changes(method) == expected


def test_a_baseline_may_be_reconstructed_too() -> None:
    assert changes("taylor+reconstruct") == {"select.criterion": "taylor", "phases": LONGER}
    assert find_method("l1+reconstruct").about.endswith("(Li et al. 2017); reconstructed")
    for name in ("ours+reconstruct", "l3+reconstruct", "l1+", "+reconstruct"):
        with pytest.raises(RecipeError, match=r"unknown method .* or a baseline with"):
            find_method(name)


def test_no_penalty_turns_off_both_penalties() -> None:
    recipe = quickstart("compress.sparsify.group_strength=0.1")
    sparsify = method_recipe(recipe, "no_penalty", 0.3, 0).phase(1)[1]
    assert (sparsify.strength, sparsify.group_strength) == (0.0, 0.0)


def test_the_recipes_own_goal_is_not_used() -> None:
    for goal in (
        "{s_F: 0.9, s_F_both: 0.8, s_G: 0.8, min_filters: 7}",
        "{max_drop: 2, criterion: l2, min_filters: 7}",
        "{keep_params: 0.2, keep_macs: 0.2, min_filters: 7}",
    ):
        recipe = quickstart(
            f"compress.select={goal}",
            "compress.phases=[{layers: conv1_1-conv4_3, select: {max_drop: 1}}, "
            "{layers: conv4_3-conv9_2}]",
        )
        for number in (1, 2):
            select = method_recipe(recipe, OURS, 0.3, 0).phase(number)[2]
            assert select.model_dump(exclude_defaults=True) == {"keep_macs": 0.3, "min_filters": 7}


def test_the_input_recipe_is_unchanged() -> None:
    recipe = quickstart()
    before = dumped(recipe)
    for method in METHODS:
        method_recipe(recipe, method, 0.3, 9)
    scratch_recipe(recipe, {"conv1_1": 3}, 9)
    assert dumped(recipe) == before


def test_from_scratch() -> None:
    widths = {"conv1_1": 3, "conv9_2": 5}
    recipe = quickstart("model.weights=some.safetensors")
    scratch = scratch_recipe(recipe, widths, 4)
    assert (scratch.seed, scratch.model.weights, scratch.model.widths) == (4, None, widths)
    assert scratch.train == recipe.train.model_copy(update={"steps": 1500 + 250 + 850})
    for entry in ("name", "precision", "data", "evaluate"):
        assert getattr(scratch, entry) == getattr(recipe, entry)
    others = {"widths": recipe.model.widths, "weights": recipe.model.weights}
    assert scratch.model.model_copy(update=others) == recipe.model


def test_the_error_of_an_unknown_method_lists_all_methods() -> None:
    with pytest.raises(RecipeError, match="unknown method 'l3'; use ") as error:
        method_recipe(quickstart(), "l3", 0.3, 0)
    assert ", ".join(METHODS) in str(error.value)


def test_a_phases_own_entries_do_not_override_a_method() -> None:
    own = quickstart("compress.phases.0.sparsify={strength: 0.5, penalty: proximal, steps: 7}")
    assert method_recipe(own, "no_penalty", 0.3, 0).phase(1)[1].strength == 0
    assert method_recipe(own, "subgradient", 0.3, 0).phase(1)[1].penalty == "subgradient"
    assert method_recipe(own, "ours", 0.3, 0).phase(1)[1].strength == 0.5
    assert method_recipe(own, "no_penalty", 0.3, 0).phase(1)[1].steps == 7


def test_a_network_from_scratch_has_no_budget_to_meet() -> None:
    recipe = scratch_recipe(quickstart(), {"conv3_1": 4}, 0)
    assert recipe.compress.select.keep_params is None
    assert recipe.compress.select.max_drop is not None


def test_scratch_needs_the_steps_of_the_dense_network() -> None:
    given = quickstart("train.steps=0", "model.weights=mine.pth")
    assert "scratch" not in default_methods(given)
    with pytest.raises(RecipeError, match=r"scratch trains for as many .* train\.steps is 0"):
        method_recipe(given, "scratch", 0.3, 0)


def test_default_methods_without_batch_norms() -> None:
    assert "norm_scale" in default_methods(quickstart())
    without = default_methods(quickstart("model.batch_norm=false"))
    assert without == [name for name in default_methods(quickstart()) if name != "norm_scale"]


@pytest.mark.parametrize("method", ["norm_scale", "group_norm"])
def test_a_baselines_penalty_replaces_the_group_penalty(method: str) -> None:
    made = method_recipe(quickstart("compress.sparsify.group_strength=0.1"), method, 0.3, 0)
    assert made.compress.sparsify.group_strength == 0
    check_phases(made, architecture())


def test_the_scales_of_norms_need_norms_and_their_own_penalty() -> None:
    check_phases(method_recipe(quickstart(), "norm_scale", 0.3, 0), architecture())
    bare = method_recipe(quickstart("model.batch_norm=false"), "norm_scale", 0.3, 0)
    with pytest.raises(
        RecipeError, match="phase conv1_1-conv9_2: there is no batch norm whose scales could"
    ):
        check_phases(bare, architecture("model.batch_norm=false"))
    for pair in ("norm_scale", "group_norm"):
        mixed = quickstart(f"compress.sparsify.penalty={pair}")
        with pytest.raises(RecipeError, match=f"the penalty {pair} and .* go together"):
            check_phases(mixed, architecture())


def architecture(*changes: str) -> Architecture:
    return recipe_architecture(quickstart(*changes), ("stop", "yield"))


def test_the_docs_describe_every_method() -> None:
    page = (Path(__file__).parents[2] / "docs" / "compare.md").read_text("utf-8")
    assert [
        name for name, each in METHODS.items() if f"| `{name}` | {each.about} |" not in page
    ] == []
