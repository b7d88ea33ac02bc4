"""Ctrl-C and SIGTERM end the program by an exception, so that nothing half-written is left.

An exception stops work inside a library, which a polled flag would not. But Python discards an
exception that is raised in a finalizer or the callback of a weak reference, of which torch has
many; such a signal is sent again.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# The exit code of a program that SIGTERM ended.
TERMINATED = 143
# Seconds until a discarded signal is sent again; callbacks are much shorter.
_DELAY = 0.1
# Seconds after which a second signal no longer counts as the first: `timeout` sends two at once.
_PATIENCE = 1.0

_terminating = threading.Event()


@contextmanager
def signals_raised() -> Iterator[None]:
    """Raise ``SystemExit(143)`` at SIGTERM, and send a signal again whose exception is discarded.

    Ctrl-C raises ``KeyboardInterrupt``, as always. The handler of SIGTERM stays installed until
    ``ignore_signals``.
    """
    if _in_main_thread():
        _terminating.clear()
        signal.signal(signal.SIGTERM, _terminate)
    usual = sys.unraisablehook

    def hook(discarded: "sys.UnraisableHookArgs") -> None:
        error = discarded.exc_value
        if isinstance(error, KeyboardInterrupt):
            _send_later(signal.SIGINT)
        elif isinstance(error, SystemExit) and error.code == TERMINATED:
            _terminating.clear()
            _send_later(signal.SIGTERM)
        else:
            usual(discarded)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = usual


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait for the end of the block; a second, later one does not wait.

    A signal that would not raise an exception, or is ignored, is left as it is.
    """
    if not _in_main_thread():
        yield
        return
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    first: tuple[int, float] | None = None

    def wait(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if first is None:
            first = number, time.monotonic()
        elif time.monotonic() - first[1] > _PATIENCE:
            handler = usual[signal.Signals(number)]
            first = None
            if callable(handler):
                handler(number, frame)

    for number, handler in usual.items():
        if callable(handler):
            signal.signal(number, wait)
    try:
        yield
    finally:
        for number, handler in usual.items():
            if callable(handler):
                signal.signal(number, handler)
        if first is not None:
            signal.raise_signal(first[0])


def is_terminating() -> bool:
    """Whether SIGTERM arrived."""
    return _terminating.is_set()


def ignore_signals() -> None:
    """Ignore both signals while the program prints why it ends.

    torchrun sends SIGTERM to all processes as soon as one has ended.
    """
    if _in_main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def _in_main_thread() -> bool:
    """Python delivers signals to the main thread only, and only there a handler can be set."""
    return threading.current_thread() is threading.main_thread()


def _terminate(_signal: int, _frame: object) -> None:
    # `timeout` sends SIGTERM twice; the second must not interrupt the cleanup after the first.
    if not _terminating.is_set():
        _terminating.set()
        raise SystemExit(TERMINATED)


def _send_later(number: signal.Signals) -> None:
    timer = threading.Timer(_DELAY, os.kill, (os.getpid(), number))
    timer.daemon = True
    timer.start()
