"""``secateur train``: the dense network alone."""

from secateur.cli.console import ConsoleReporter, open_console, say
from secateur.cli.options import Changes, RecipeArgument, RunFolder, run_folder


def train(recipe: RecipeArgument, changes: Changes = None, run: RunFolder = None) -> None:
    """Train only the dense network; compress continues from it.

    The network is saved as dense.safetensors in the run folder.
    """
    from secateur.config.recipe import load_recipe
    from secateur.run.dense import train_recipe

    loaded = load_recipe(recipe, changes or ())
    console = open_console()
    file = train_recipe(loaded, run_folder(run, loaded), ConsoleReporter(console))
    say(console, f"dense network: {file}")
