"""The architecture of the network that a recipe names."""

from pydantic import ValidationError

from secateur.config.data import DetectionData
from secateur.config.recipe import Recipe
from secateur.errors import RecipeError
from secateur.models.architecture import Architecture
from secateur.models.table import NETWORKS


def recipe_architecture(recipe: Recipe, classes: tuple[str, ...]) -> Architecture:
    """Give the architecture of a recipe's dense network.

    Args:
        recipe: its section ``model`` describes the network.
        classes: names of the classes in the data.

    Raises:
        RecipeError: entries of ``model`` contradict each other.
    """
    resize = not isinstance(recipe.data, DetectionData) or recipe.data.resize
    try:
        return NETWORKS[recipe.model.network].resolve(recipe.model, classes, resize)
    except ValueError as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise RecipeError(f"model: {str(reason).removeprefix('Value error, ')}") from None
