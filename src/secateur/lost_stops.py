"""Ctrl-C and SIGTERM, where Python would lose them.

What a signal's handler raises is raised wherever the program happens to be. In the callback of a
weak reference, or where an object is taken apart, nothing can be raised, and the stop would be
forgotten; and torch has many of these.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Seconds, in which a callback is long over.
_MOMENT = 0.1


@contextmanager
def stops_kept(terminated: int) -> Iterator[None]:
    """Have a stop that was lost come again a moment later.

    Args:
        terminated: exit code that SIGTERM's handler raises.
    """
    usual = sys.unraisablehook

    def tell(lost: "sys.UnraisableHookArgs") -> None:
        stop = lost.exc_value
        if isinstance(stop, KeyboardInterrupt):
            _send_later(signal.SIGINT)
        elif isinstance(stop, SystemExit) and stop.code == terminated:
            _send_later(signal.SIGTERM)
        else:
            usual(lost)

    sys.unraisablehook = tell
    try:
        yield
    finally:
        sys.unraisablehook = usual


@contextmanager
def stops_ignored() -> Iterator[None]:
    """Let a program that is ending say why, whoever asks it to end meanwhile.

    torchrun asks all processes to as soon as one has ended, and `timeout` asks twice.
    """
    if threading.current_thread() is not threading.main_thread():  # where no signal is handled
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            if handler is not None:  # as of a handler that is not Python's
                signal.signal(number, handler)


def _send_later(number: signal.Signals) -> None:
    timer = threading.Timer(_MOMENT, os.kill, (os.getpid(), number))
    timer.daemon = True
    timer.start()
