"""The dense network of a recipe, without the phases that follow."""

from pathlib import Path
from typing import cast

from secateur.config.recipe import Recipe
from secateur.models.layer_costs import DENSE_FILE
from secateur.models.network_file import save_network
from secateur.run.context import Reporter, open_run
from secateur.run.folder import locked_run
from secateur.run.network_stages import train_dense
from secateur.run.records import TrainingRecord


def train_recipe(recipe: Recipe, folder: Path, reporter: Reporter) -> Path:
    """Train the dense network of a recipe, or find it in the run folder.

    Args:
        recipe: names the network, the data and the training.
        folder: of the run; made if absent, resumed if present.
        reporter: prints the progress.

    Returns:
        The network file, ``dense.safetensors`` in the folder.

    Raises:
        SecateurError: as for ``compress_recipe``.
    """
    with locked_run(folder):
        run = open_run(recipe, folder, reporter)
        dense, step = train_dense(run)
        file = run.folder / DENSE_FILE
        provenance = {
            "run": recipe.name,
            "role": "dense",
            "metric": recipe.evaluate.metric,
            "split": "validation",
            "value": cast(TrainingRecord, step.result).metrics[recipe.evaluate.metric],
        }
        save_network(file, dense.load(), dense.architecture, provenance)
    return file
