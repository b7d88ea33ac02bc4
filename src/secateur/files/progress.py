"""How a long computation reports its progress."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

# Maps a title and a number of units of work to a context, in which a function that is called with
# the number of units done since its last call advances the bar.
Bar = Callable[[str, int], AbstractContextManager[Callable[..., None]]]


def no_bar(_title: str, _total: int) -> AbstractContextManager[Callable[..., None]]:
    """Take the place of a bar and show nothing."""
    return nullcontext(lambda *_: None)
