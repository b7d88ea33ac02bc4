"""The ways that can be compared: ours, its baselines, and ours with parts taken away."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from secateur.config.compress import Select
from secateur.config.recipe import Recipe
from secateur.errors import RecipeError
from secateur.experiments.phasing import each_twice, four_runs, in_phases, one_run

OURS = "ours"
SCRATCH = "scratch"


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to compress.

    Attributes:
        about: what it does, and who published it.
        changes: entries of ``compress`` that differ from the recipe's, by section.
        runs: of layers, of the phases that take the place of the recipe's; None: those.
    """

    about: str
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    runs: Callable[[Recipe], list[str]] | None = None


def _criterion(name: str, **more: Any) -> dict[str, dict[str, Any]]:
    return {"select": {"criterion": name, **more}}


def _penalty(name: str, strength: float) -> dict[str, Any]:
    """A baseline's own, without the recipe's group penalty beside it."""
    return {"penalty": name, "strength": strength, "group_strength": 0.0}


# The strengths of baselines' penalties are what validation chose on the quick start, at 15 % of the
# MACs and with one seed, from a ladder that holds the published one: six rungs for norm_scale, four
# for group_norm.
VARIANTS: dict[str, Variant] = {
    OURS: Variant("sparsity of F and G, least loss a cost saved first"),
    # Baselines.
    "random": Variant("random filters, the same share of every layer", _criterion("random")),
    "l1": Variant("L1 norm of filters, same share (Li et al. 2017)", _criterion("l1")),
    "l2": Variant("L2 norm of filters, same share", _criterion("l2")),
    "geometric_median": Variant(
        "distance to the other filters, same share (He et al. 2019)",
        _criterion("geometric_median"),
    ),
    "norm_scale": Variant(
        "batch norm's scale, drawn to zero by L1, one cut for all layers (Liu et al. 2017)",
        {**_criterion("norm_scale"), "sparsify": _penalty("norm_scale", 1e-1)},
    ),
    "taylor": Variant(
        "first-order Taylor, one cut for all layers, normalized (Molchanov et al. 2017, 2019)",
        _criterion("taylor"),
    ),
    "group_norm": Variant(
        "Torch-Pruning's group norm, drawn to zero, one cut for all layers (Fang et al. 2023)",
        {
            **_criterion("group_norm"),
            "sparsify": {**_penalty("group_norm", 5e-3), "weight_decay": 0.0},
        },
    ),
    SCRATCH: Variant("ours' widths, trained from nothing as long as all of ours (Liu et al. 2019)"),
    # Ours with parts taken away.
    "uniform": Variant(
        "sparsity of F and G, the same share of every layer",
        _criterion("sparsity", allocation="share"),
    ),
    "layer_threshold": Variant(
        "a threshold for each layer, in its standard deviations (Han et al. 2015)",
        {"threshold": {"scope": "layer"}},
    ),
    "F_only": Variant("sparsity of F alone", _criterion("sparsity_F")),
    "G_only": Variant("sparsity of G alone", _criterion("sparsity_G")),
    "no_penalty": Variant(
        "the same training without a penalty",
        {"sparsify": {"strength": 0.0, "group_strength": 0.0}},
    ),
    "subgradient": Variant(
        "L1 by its subgradient, as published", {"sparsify": {"penalty": "subgradient"}}
    ),
    "uneven": Variant(
        "layers may be emptied as far as they are costly", {"select": {"balance": 0.0}}
    ),
    "unmended": Variant(
        "nothing done about what a removal upsets",
        {"remove": {"fold_means": False, "reestimate_norms": False}},
    ),
    "one_phase": Variant("all layers at once, trained as long", runs=one_run),
    "four_phases": Variant(
        "four stretches of layers one after the other, trained as long", runs=four_runs
    ),
    # Ours with something put to it.
    "gradual": Variant("every phase twice, half of the way and half as long", runs=each_twice),
    "distill": Variant(
        "retrained from the dense network's predictions too (Hinton et al. 2015)",
        {"retrain": {"distill": 1.0}},
    ),
    "fine_tune": Variant(
        "retrained at a low learning rate instead of rewinding it (Renda et al. 2020)",
        {"retrain": {"lr": 2e-4}},
    ),
}


def usual_ways(recipe: Recipe) -> list[str]:
    """Ours, and the baselines that need nothing which a recipe may lack, or which it has."""
    names = [OURS, "random", "l1", "l2", "geometric_median"]
    if recipe.model.batch_norm:
        names.append("norm_scale")
    names.append("taylor")
    if recipe.train.steps:
        names.append(SCRATCH)
    return names


def variant_recipe(recipe: Recipe, variant: str, keep_macs: float, seed: int) -> Recipe:
    """Give the recipe of one way, with one budget for all phases and another seed.

    A way that does not sparsify retrains for as many pictures more, so that all ways see the same
    number of pictures.

    Raises:
        RecipeError: the variant is unknown, or its entries do not fit the recipe.
    """
    if variant not in VARIANTS:
        raise RecipeError(f"there is no way {variant!r} to compare; take {', '.join(VARIANTS)}")
    if variant == SCRATCH and recipe.train.steps == 0:
        raise RecipeError(
            f"{SCRATCH} trains as long as the dense network and its phases together, and how long "
            "the dense one trained is not known: train.steps is 0; leave that way out"
        )
    content = recipe.model_dump(mode="json")
    content["seed"] = seed
    compress = content["compress"]
    own = compress["select"]
    compress["select"] = {"keep_macs": keep_macs, "min_filters": own["min_filters"]}
    for phase in compress["phases"]:
        phase["select"] = {}
    for section, entries in VARIANTS[variant].changes.items():
        compress[section] |= entries
        for phase in compress["phases"]:
            for entry in entries:  # a phase's own would have the last word
                phase.get(section, {}).pop(entry, None)
    select = Select(**compress["select"])
    if select.way_of_allocation == "cost":
        compress["select"].setdefault("balance", own["balance"])
    changed = Recipe.model_validate(content)
    if runs := VARIANTS[variant].runs:
        return in_phases(changed, runs(changed))
    if select.sparsifies:
        return changed
    for number, phase in enumerate(compress["phases"], start=1):
        _, sparsify, _, retrain = recipe.phase(number)
        more = round(sparsify.steps * sparsify.batch_size / retrain.batch_size)
        phase["retrain"] = {**phase["retrain"], "steps": retrain.steps + more}
    return Recipe.model_validate(content)


def scratch_recipe(recipe: Recipe, widths: Mapping[str, int], seed: int) -> Recipe:
    """Give the recipe that trains a network of some widths for as many pictures as all of ours.

    Args:
        recipe: what is compared.
        widths: filters by layer, of the slim network.
        seed: the run's.
    """
    content = recipe.model_dump(mode="json")
    content["seed"] = seed
    train = recipe.train
    pictures = train.steps * train.batch_size
    for number in range(1, len(recipe.compress.phases) + 1):
        _, sparsify, _, retrain = recipe.phase(number)
        pictures += sparsify.steps * sparsify.batch_size + retrain.steps * retrain.batch_size
    content["train"]["steps"] = round(pictures / train.batch_size)
    # There is nothing more to compress; a goal has to be there, and this one always can be met.
    content["compress"]["select"] = {"max_drop": 1.0}
    for phase in content["compress"]["phases"]:
        phase["select"] = {}
    content["model"] |= {"widths": dict(widths), "weights": None}
    return Recipe.model_validate(content)
