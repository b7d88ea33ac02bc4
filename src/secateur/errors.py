"""The exceptions secateur raises, all in one place.

``SecateurError``
├── ``RecipeError``    the recipe is wrong: an unknown key, a value out of range
├── ``DataError``      a picture, an annotation or a folder of them is wrong
├── ``ModelError``     a network file or an architecture is wrong
├── ``PruningError``   a step of the method cannot be carried out as asked
│   └── ``BudgetError``   not even the least that may be kept fits the budget
├── ``ExportError``    an export does not do what its network does, or cannot be made
├── ``MissingExtraError``   a package that only some commands need is not installed
└── ``RunError``       a run folder is wrong or in use
    ├── ``DivergedError``   a training's loss or gradients are no longer finite
    └── ``LostError``   another process of the run has ended

Each message is one line that names the file or the entry and the cure. The command line prints
it and ends with exit code 2; a traceback means a fault of ours.
"""


class SecateurError(Exception):
    """What went wrong is the input's, and the message says how to mend it."""


class RecipeError(SecateurError):
    """The recipe is wrong."""


class DataError(SecateurError):
    """A picture, an annotation or a folder of them is wrong."""


class ModelError(SecateurError):
    """A network file or an architecture is wrong."""


class PruningError(SecateurError):
    """A step of the method cannot be carried out as asked."""


class BudgetError(PruningError):
    """Not even the least that may be kept fits the budget."""


class ExportError(SecateurError):
    """An export does not do what its network does, or cannot be made."""


class MissingExtraError(SecateurError):
    """A package that only some commands need is not installed."""


class RunError(SecateurError):
    """A run folder is wrong or in use."""


class DivergedError(RunError):
    """A training's loss or gradients are no longer finite."""


class LostError(RunError):
    """Another process of the run has ended."""


def first_line(error: BaseException) -> str:
    """Give the first line of what an error says, or its kind where it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
