"""Ctrl-C and SIGTERM: the exit code, the message, and that no signal is lost."""

import os
import signal
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import Outcome
from secateur.cli.console import complain
from secateur.cli.main import main
from secateur.errors import LostError, RunError
from secateur.run import pipeline

RESUME = "stopped; give the same command again to resume\n"
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


class Finalized:
    """Its finalizer receives a signal, and discards what the handler raises."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


def in_finalizer(number: signal.Signals) -> None:
    Finalized(number)


def in_callback(number: signal.Signals) -> None:
    class Plain:
        pass

    thing = Plain()
    watch = weakref.ref(thing, lambda _: signal.raise_signal(number))
    del thing
    assert watch() is None


def test_interruption_tells_how_to_resume(
    secateur: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, recipe: Path
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "compress_recipe", stop)
    outcome = secateur("compress", recipe)
    assert (outcome.code, outcome.out) == (130, "")
    assert outcome.err.splitlines(keepends=True)[-1] == RESUME


@pytest.mark.parametrize("lose", [in_finalizer, in_callback])
@pytest.mark.parametrize("number", CODES)
def test_signal_whose_exception_is_discarded_arrives_again(
    number: signal.Signals,
    lose: Callable[[signal.Signals], None],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def stopped(_arguments: object) -> None:
        try:
            lose(number)
            time.sleep(20)
        except KeyboardInterrupt:  # as typer does
            raise SystemExit(130) from None

    monkeypatch.setattr("secateur.cli.main.app", stopped)
    # A process in the background of a shell ignores Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    start = time.monotonic()
    with pytest.raises(SystemExit) as end:
        main(["export"])
    assert end.value.code == CODES[number]
    assert time.monotonic() - start < 10
    assert capfd.readouterr().err == "stopped\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "a.safetensors", "--split", "train"], "stopped\n"),
        (["train", "a.yaml"], RESUME),
        (["sweep", "train", "--trials", "3"], RESUME),
    ],
)
def test_only_a_command_that_resumes_says_so(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def stopped(_arguments: object) -> None:
        raise SystemExit(130)

    monkeypatch.setattr("secateur.cli.main.app", stopped)
    with pytest.raises(SystemExit):
        main(arguments)
    assert capfd.readouterr().err == message


def test_sigterm_is_reported_and_not_the_error_that_it_causes(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # As by `timeout`, which also ends the processes that load pictures.
    def stopped(_arguments: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        except SystemExit:
            raise RunError("a process that loads pictures was killed") from None

    monkeypatch.setattr("secateur.cli.main.app", stopped)
    with pytest.raises(SystemExit) as end:
        main(["compress", "recipe.yaml"])
    assert end.value.code == 143
    assert capfd.readouterr().err == RESUME


def test_second_sigterm_does_not_interrupt_the_cleanup_after_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cleaned = []

    def stopped(_arguments: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            cleaned.append(True)

    monkeypatch.setattr("secateur.cli.main.app", stopped)
    with pytest.raises(SystemExit) as end:
        main(["compress", "recipe.yaml"])
    assert end.value.code == 143
    assert cleaned == [True]


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize(
    ("end", "code", "message"),
    [
        (LostError("another process has ended"), 2, "error: another process has ended\n"),
        (SystemExit(143), 143, "stopped\n"),
    ],
)
def test_signal_while_the_last_line_is_printed_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    number: signal.Signals,
    end: BaseException,
    code: int,
    message: str,
) -> None:
    def stopped(_arguments: object) -> None:
        raise end

    def interrupted(text: str) -> None:
        signal.raise_signal(number)
        complain(text)

    monkeypatch.setattr("secateur.cli.main.app", stopped)
    monkeypatch.setattr("secateur.cli.main.complain", interrupted)
    with pytest.raises(SystemExit) as ended:
        main(["export"])
    assert ended.value.code == code
    assert capfd.readouterr().err == message
