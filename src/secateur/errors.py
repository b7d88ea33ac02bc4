"""The exceptions of secateur, all in one place.

``SecateurError``
├── ``WrongTypeError``   an argument of a public function is of a wrong type; also a ``TypeError``
├── ``RecipeError``    the recipe is wrong: an unknown key, a value out of range
├── ``DataError``      an image, an annotation or a folder of them is wrong
├── ``ModelError``     a network file or an architecture is wrong
├── ``PruningError``   a step of the method cannot be carried out as asked
│   ├── ``WrongValueError``   a setting is out of range or unknown; also a ``ValueError``
│   └── ``BudgetError``   the smallest network that is allowed exceeds the budget
├── ``ExportError``    a network cannot be exported, or the export failed its verification
├── ``MissingExtraError``   an optional package is not installed
└── ``RunError``       a run folder is wrong or in use
    ├── ``DivergedError``   the loss, the gradients or the network of a training are not finite
    └── ``LostError``   another process of the run has ended

Each message is one line that names the file or the entry, what is wrong, and the cure. The command
line prints it and exits with code 2; a traceback is a bug in secateur.
"""


class SecateurError(Exception):
    """The input is wrong; the message says what and how to correct it."""


class WrongTypeError(SecateurError, TypeError):
    """An argument of a public function is of a wrong type."""


class RecipeError(SecateurError):
    """The recipe is wrong."""


class DataError(SecateurError):
    """An image, an annotation or a folder of them is wrong."""


class ModelError(SecateurError):
    """A network file or an architecture is wrong."""


class PruningError(SecateurError):
    """A step of the method cannot be carried out as asked."""


class WrongValueError(PruningError, ValueError):
    """A setting is out of range or unknown."""


class BudgetError(PruningError):
    """The smallest network that is allowed exceeds the budget."""


class ExportError(SecateurError):
    """A network cannot be exported, or the export failed its verification."""


class MissingExtraError(SecateurError):
    """An optional package is not installed."""


class RunError(SecateurError):
    """A run folder is wrong or in use."""


class DivergedError(RunError):
    """The loss, the gradients or the network of a training are not finite."""


class LostError(RunError):
    """Another process of the run has ended."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class name if there is none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
