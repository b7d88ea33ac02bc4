"""The compression methods to compare: ours, its baselines, and ours with one part changed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from secateur.config.compress import Select
from secateur.config.recipe import Recipe
from secateur.errors import RecipeError
from secateur.experiments.phasing import each_twice, four_phases, one_phase, with_phases

OURS = "ours"
SCRATCH = "scratch"


@dataclass(frozen=True, slots=True)
class Method:
    """One compression method.

    Attributes:
        about: what it does, and who published it.
        changes: entries of ``compress`` that replace the recipe's, by section.
        phases: makes the phases that replace the recipe's; None keeps the recipe's phases.
    """

    about: str
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    phases: Callable[[Recipe], list[str]] | None = None


def _criterion(name: str, **more: Any) -> dict[str, dict[str, Any]]:
    return {"select": {"criterion": name, **more}}


def _baseline(name: str) -> dict[str, dict[str, Any]]:
    """A published criterion, without the reconstruction that is ours."""
    return {**_criterion(name), "remove": {"reconstruct": False}}


def _penalty(name: str, strength: float) -> dict[str, Any]:
    """The penalty of a baseline, without the recipe's group penalty."""
    return {"penalty": name, "strength": strength, "group_strength": 0.0}


# The strengths of the baselines' penalties were chosen on the validation split of the quick start,
# at 15 % of the MACs with one seed, from a range that includes the published value: six values for
# norm_scale, four for group_norm.
METHODS: dict[str, Method] = {
    OURS: Method("sparsity of F and G, least loss per cost saved first"),
    # Baselines.
    "random": Method("random filters, the same share of every layer", _baseline("random")),
    "l1": Method(
        "L1 norm of filters, the same share of every layer (Li et al. 2017)", _baseline("l1")
    ),
    "l2": Method("L2 norm of filters, the same share of every layer", _baseline("l2")),
    "geometric_median": Method(
        "distance to the other filters, the same share of every layer (He et al. 2019)",
        _baseline("geometric_median"),
    ),
    "norm_scale": Method(
        "batch norm scale under an L1 penalty, one threshold for all layers (Liu et al. 2017)",
        {**_baseline("norm_scale"), "sparsify": _penalty("norm_scale", 1e-1)},
    ),
    "taylor": Method(
        "first-order Taylor, one threshold for all layers, normalized (Molchanov et al. 2017, "
        "2019)",
        _baseline("taylor"),
    ),
    "group_norm": Method(
        "Torch-Pruning's penalised group norm, one threshold for all layers (Fang et al. 2023)",
        {
            **_baseline("group_norm"),
            "sparsify": {**_penalty("group_norm", 5e-3), "weight_decay": 0.0},
        },
    ),
    SCRATCH: Method(
        "the widths of ours, trained from random weights for as long in total (Liu et al. 2019)"
    ),
    # Ours with one part removed or replaced.
    "uniform": Method(
        "sparsity of F and G, the same share of every layer",
        _criterion("sparsity", allocation="share"),
    ),
    "layer_threshold": Method(
        "one threshold for each layer, in its standard deviations (Han et al. 2015)",
        {"threshold": {"scope": "layer"}},
    ),
    "F_only": Method("sparsity of F only", _criterion("sparsity_F")),
    "G_only": Method("sparsity of G only", _criterion("sparsity_G")),
    "no_penalty": Method(
        "the same training without a penalty",
        {"sparsify": {"strength": 0.0, "group_strength": 0.0}},
    ),
    "subgradient": Method(
        "L1 penalty by its subgradient, as published", {"sparsify": {"penalty": "subgradient"}}
    ),
    "no_balance": Method(
        "no extra cost for filters of nearly empty layers", {"select": {"balance": 0.0}}
    ),
    "no_recalibration": Method(
        "no reconstruction, no means folded into biases and no batch norms re-estimated",
        {"remove": {"reconstruct": False, "fold_means": False, "reestimate_norms": False}},
    ),
    "no_reconstruction": Method(
        "means folded into biases instead of least squares", {"remove": {"reconstruct": False}}
    ),
    "reconstruction": Method(
        "filters that the others make up for, by pictures instead of zeros",
        _criterion("reconstruction"),
    ),
    "one_phase": Method("all layers in one phase, same total training", phases=one_phase),
    "four_phases": Method(
        "four phases of consecutive layers, same total training", phases=four_phases
    ),
    # Ours with one part added.
    "gradual": Method(
        "every phase in two rounds, each with half the removal and half the training",
        phases=each_twice,
    ),
    "distill": Method(
        "also retrained on the dense network's predictions (Hinton et al. 2015)",
        {"retrain": {"distill": 1.0}},
    ),
    "fine_tune": Method(
        "retrained at a low learning rate, without rewinding it (Renda et al. 2020)",
        {"retrain": {"lr": 2e-4}},
    ),
}


# Ending of the name of a baseline that is reconstructed as ours is.
RECONSTRUCTED = "+reconstruct"


def find_method(name: str) -> Method:
    """Give a method by its name; ``taylor+reconstruct`` is a baseline with our reconstruction.

    Raises:
        RecipeError: the name is unknown.
    """
    base = name.removesuffix(RECONSTRUCTED)
    known = METHODS.get(base)
    if known is None or (base != name and "remove" not in known.changes):
        raise RecipeError(
            f"unknown method {name!r}; use {', '.join(METHODS)}, or a baseline with {RECONSTRUCTED}"
        )
    if base == name:
        return known
    changes = {**known.changes, "remove": {"reconstruct": True}}
    return replace(known, about=f"{known.about}; reconstructed", changes=changes)


def default_methods(recipe: Recipe) -> list[str]:
    """List ours and the baselines that suit a recipe and need no further package."""
    names = [OURS, "random", "l1", "l2", "geometric_median"]
    if recipe.model.batch_norm:
        names.append("norm_scale")
    names.append("taylor")
    if recipe.train.steps:
        names.append(SCRATCH)
    return names


def method_recipe(recipe: Recipe, method: str, keep_macs: float, seed: int) -> Recipe:
    """Make the recipe of a method, with one budget for all phases and another seed.

    All methods see the same number of training pictures: one that does not sparsify retrains for
    as many more.

    Raises:
        RecipeError: the method is unknown, or does not fit the recipe.
    """
    found = find_method(method)
    if method == SCRATCH and recipe.train.steps == 0:
        raise RecipeError(
            f"{SCRATCH} trains for as many steps as the dense network and its phases together, but "
            "train.steps is 0, so the steps of the dense network are unknown; leave this method out"
        )
    content = recipe.model_dump(mode="json")
    content["seed"] = seed
    compress = content["compress"]
    own = compress["select"]
    compress["select"] = {"keep_macs": keep_macs, "min_filters": own["min_filters"]}
    for phase in compress["phases"]:
        phase["select"] = {}
    for section, entries in found.changes.items():
        compress[section] |= entries
        for phase in compress["phases"]:
            for entry in entries:  # a phase's own entry would override the method's
                phase.get(section, {}).pop(entry, None)
    select = Select(**compress["select"])
    if select.settings.divides_by == "cost":
        compress["select"].setdefault("balance", own["balance"])
    changed = Recipe.model_validate(content)
    if phases := found.phases:
        return with_phases(changed, phases(changed))
    if select.settings.ranks_by.sparsifies:
        return changed
    for number, phase in enumerate(compress["phases"], start=1):
        _, sparsify, _, retrain = recipe.phase(number)
        more = round(sparsify.steps * sparsify.batch_size / retrain.batch_size)
        phase["retrain"] = {**phase["retrain"], "steps": retrain.steps + more}
    return Recipe.model_validate(content)


def scratch_recipe(recipe: Recipe, widths: Mapping[str, int], seed: int) -> Recipe:
    """Make the recipe that trains a slim network from scratch on as many pictures as ours in all.

    Args:
        recipe: the recipe to compare.
        widths: filters of the slim network, by layer.
        seed: seed of the run.
    """
    content = recipe.model_dump(mode="json")
    content["seed"] = seed
    train = recipe.train
    pictures = train.steps * train.batch_size
    for number in range(1, len(recipe.compress.phases) + 1):
        _, sparsify, _, retrain = recipe.phase(number)
        pictures += sparsify.steps * sparsify.batch_size + retrain.steps * retrain.batch_size
    content["train"]["steps"] = round(pictures / train.batch_size)
    # A recipe must name a goal; this run only trains, and this goal can always be met.
    content["compress"]["select"] = {"max_drop": 1.0}
    for phase in content["compress"]["phases"]:
        phase["select"] = {}
    content["model"] |= {"widths": dict(widths), "weights": None}
    return Recipe.model_validate(content)
