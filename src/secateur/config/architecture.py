"""The architecture of the network that a recipe names."""

from pydantic import ValidationError

from secateur.config.data import DetectionData
from secateur.config.model import SSDModel
from secateur.config.recipe import Recipe
from secateur.errors import RecipeError
from secateur.models.architecture import Architecture
from secateur.models.ssd import VGG_MEAN, VGG_STD, ssd_architecture
from secateur.models.vgg import vgg_architecture


def recipe_architecture(recipe: Recipe, classes: tuple[str, ...]) -> Architecture:
    """Give the architecture of a recipe's dense network.

    Args:
        recipe: whose section ``model`` describes it.
        classes: names of the classes in the data.

    Raises:
        RecipeError: entries of ``model`` contradict each other.
    """
    model = recipe.model
    try:
        if isinstance(model, SSDModel):
            return ssd_architecture(
                model.network,
                classes,
                size=model.size,
                resize=not isinstance(recipe.data, DetectionData) or recipe.data.resize,
                batch_norm=model.batch_norm,
                detection_layers=model.detection_layers,
                widths=model.widths,
                scales=model.scales,
                aspect_ratios=model.aspect_ratios,
                mean=model.mean or VGG_MEAN,
                std=model.std or VGG_STD,
            )
        return vgg_architecture(classes, **model.model_dump(exclude={"network", "weights"}))
    except ValueError as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise RecipeError(f"model: {str(reason).removeprefix('Value error, ')}") from None
