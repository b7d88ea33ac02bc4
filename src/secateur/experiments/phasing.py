"""A recipe's training in more phases or fewer: the same layers, and as many pictures."""

from collections.abc import Sequence

from secateur.config.recipe import Recipe
from secateur.models.network import recipe_architecture


def one_run(recipe: Recipe) -> list[str]:
    """All layers of a recipe's phases in one phase."""
    names = _layers(recipe)
    return [f"{names[0]}-{names[-1]}"]


def four_runs(recipe: Recipe) -> list[str]:
    """All layers of a recipe's phases in four phases, as published for SSD300.

    The last layer of each is the first of the next, as always; of fewer than five layers there
    are fewer phases.
    """
    names = _layers(recipe)
    return runs_of(names, min(4, len(names) - 1))


def runs_of(layers: Sequence[str], count: int) -> list[str]:
    """Cut consecutive layers into runs of about as many layers, each named by its ends.

    The last layer of a run is the first of the next, as phases have it.

    Args:
        layers: in the order the network runs; more than ``count``.
        count: of runs.
    """
    ends = [round(part * (len(layers) - 1) / count) for part in range(count + 1)]
    return [f"{layers[ends[n]]}-{layers[ends[n + 1]]}" for n in range(count)]


def each_twice(recipe: Recipe) -> list[str]:
    """All phases, and then all again: half of the way each time."""
    return [phase.layers for phase in recipe.compress.phases] * 2


def in_phases(recipe: Recipe, runs: Sequence[str]) -> Recipe:
    """Give the recipe with other phases, to which all steps are shared out evenly.

    Entries that phases have of their own would not know to whom to go, and are left out.

    Args:
        recipe: with a budget for the end, which phases share among them by themselves.
        runs: layers of each phase, ``conv1_1-conv4_3``.
    """
    content = recipe.model_dump(mode="json")
    old = [recipe.phase(number) for number in range(1, len(recipe.compress.phases) + 1)]
    compress = content["compress"]
    compress["phases"] = [{"layers": run, "sparsify": {}, "retrain": {}} for run in runs]
    for entry, trainings in (
        ("sparsify", [sparsify for _, sparsify, _, _ in old]),
        ("retrain", [retrain for _, _, _, retrain in old]),
    ):
        pictures = sum(each.steps * each.batch_size for each in trainings)
        steps = round(pictures / compress[entry]["batch_size"])
        for number, phase in enumerate(compress["phases"]):
            # What cannot be shared evenly goes to the first.
            shared = steps // len(runs) + (number < steps % len(runs))
            phase[entry]["steps"] = max(1, shared)
    return Recipe.model_validate(content)


def _layers(recipe: Recipe) -> list[str]:
    """From the first to the last layer that any phase is about, as the network runs."""
    names = list(recipe_architecture(recipe, ("any",)).widths)
    ends = [part for phase in recipe.compress.phases for part in phase.layers.split("-")]
    positions = [names.index(name) for name in ends if name in names]
    return names[min(positions) : max(positions) + 1]
