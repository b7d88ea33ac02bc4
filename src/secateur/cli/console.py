"""Lines and progress bars in the terminal."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from secateur.distributed.rank import own_rank

# Characters; lines in a file or a pipe are not folded.
PLAIN_WIDTH = 1000


def open_console(*, stderr: bool = False) -> Console:
    """Open a standard stream for printing; of several processes, only the first prints."""
    quiet = own_rank().rank > 0
    console = Console(stderr=stderr, quiet=quiet)
    if console.is_terminal:
        return console
    return Console(stderr=stderr, width=PLAIN_WIDTH, quiet=quiet)


def say(console: Console, text: str) -> None:
    """Print a line of any length without markup; control characters are escaped."""
    console.print(Text(printable(text)), soft_wrap=True)


def complain(text: str) -> None:
    """Print a line to standard error, from any process."""
    console = open_console(stderr=True)
    console.quiet = False
    say(console, text)


def printable(text: str) -> str:
    """Escape characters that would control the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t\xa0" else repr(c)[1:-1] for c in text)


class ConsoleReporter:
    """Prints the progress of a run: bars in a terminal, otherwise a line from time to time."""

    # Seconds between the lines of one bar; work that is shorter prints none.
    patience = 10.0

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, text: str) -> None:
        """Print a line."""
        say(self.console, text)

    @contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[Callable[..., None]]:
        """Show progress with the time left; yield ``advance(count=1, note="")``.

        Args:
            title: of the work.
            total: units of work.
            done: units done earlier; the time left is estimated without them.
        """
        if not self.console.is_terminal:
            yield self._plain_bar(title, total, done)
            return
        with Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self.console,
            transient=True,
        ) as progress:
            task = progress.add_task(title, total=total, completed=done, note="")

            def advance(count: int = 1, note: str = "") -> None:
                progress.update(task, advance=count, note=note)

            yield advance

    def _plain_bar(self, title: str, total: int, done: int) -> Callable[..., None]:
        start = printed_at = time.monotonic()
        before = done
        printed_tenth = 10 * done // max(1, total)
        printed = False

        def advance(count: int = 1, note: str = "") -> None:
            nonlocal done, printed, printed_at, printed_tenth
            done += count
            now = time.monotonic()
            tenth = 10 * done // max(1, total)
            due = tenth != printed_tenth and now - printed_at >= self.patience
            if not due and not (printed and done == total):
                return
            printed, printed_at, printed_tenth = True, now, tenth
            left = (now - start) / (done - before) * (total - done)
            self.say(
                f"{title}: {done / total:.0%}, {done} of {total}, {_clock(now - start)} elapsed, "
                f"{_clock(left)} left{', ' if note else ''}{note}"
            )

        return advance


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
