"""Ctrl-C and SIGTERM: heeded once, not lost where Python would lose them, and not at the end.

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

# The exit code of a program that SIGTERM ended.
TERMINATED = 143
# Seconds, in which a callback is long over.
_MOMENT = 0.1

_asked_to_end = threading.Event()


def handle_sigterm() -> None:
    """Have SIGTERM end the program as Ctrl-C does, so that nothing half-written is left."""
    if threading.current_thread() is threading.main_thread():  # which alone hears of signals
        _asked_to_end.clear()
        signal.signal(signal.SIGTERM, _terminate)


def asked_to_end() -> bool:
    """Whether SIGTERM came."""
    return _asked_to_end.is_set()


@contextmanager
def lost_signals_resent() -> Iterator[None]:
    """Have a stop that was lost come again a moment later."""
    usual = sys.unraisablehook

    def tell(lost: "sys.UnraisableHookArgs") -> None:
        stop = lost.exc_value
        if isinstance(stop, KeyboardInterrupt):
            _send_later(signal.SIGINT)
        elif isinstance(stop, SystemExit) and stop.code == TERMINATED:
            _asked_to_end.clear()
            _send_later(signal.SIGTERM)
        else:
            usual(lost)

    sys.unraisablehook = tell
    try:
        yield
    finally:
        sys.unraisablehook = usual


def ignore_signals() -> None:
    """Let a program that is ending say why, and end, whoever asks it to meanwhile.

    torchrun asks all processes to as soon as one has ended.
    """
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def _terminate(_signal: int, _frame: object) -> None:
    # `timeout` asks twice, and the second would come amidst the cleaning up for the first.
    if not _asked_to_end.is_set():
        _asked_to_end.set()
        raise SystemExit(TERMINATED)


def _send_later(number: signal.Signals) -> None:
    timer = threading.Timer(_MOMENT, os.kill, (os.getpid(), number))
    timer.daemon = True
    timer.start()
