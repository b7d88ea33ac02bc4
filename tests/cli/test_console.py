"""Lines and progress bars."""

import io
import time

import pytest
from rich.console import Console

from secateur.cli.console import ConsoleReporter, open_console


def test_without_a_terminal_a_bar_is_a_few_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100, 1000, 4))  # each call 4 seconds after the one before
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(ConsoleReporter, "patience", 10.0)
    out = io.StringIO()
    reporter = ConsoleReporter(Console(file=out, width=1000))
    with reporter.bar("a [b] :c:", 100) as advance:
        for _ in range(20):
            advance(5, "loss [1.5]")
    lines = out.getvalue().splitlines()
    # A step of 5 takes 4 seconds; a line comes once 10 seconds and a tenth have gone by.
    assert lines[0] == ("a [b] :c:: 15%, 15 of 100, 0:00:12 elapsed, 0:01:08 left, loss [1.5]")
    shares = ["15%,", "30%,", "45%,", "60%,", "75%,", "90%,", "100%,"]
    assert [line.split()[3] for line in lines] == shares


def test_time_left_ignores_what_was_done_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(ConsoleReporter, "patience", 10.0)
    out = io.StringIO()
    with ConsoleReporter(Console(file=out, width=1000)).bar("dense", 100, 50) as advance:
        advance(10)
    # 10 in 20 seconds, and 40 more to do.
    assert out.getvalue() == "dense: 60%, 60 of 100, 0:00:20 elapsed, 0:01:20 left\n"


def test_short_work_leaves_no_line() -> None:
    out = io.StringIO()
    with ConsoleReporter(Console(file=out)).bar("quick", 3) as advance:
        for _ in range(3):
            advance()
    assert out.getvalue() == ""


def test_in_a_terminal_there_is_a_bar() -> None:
    out = io.StringIO()
    reporter = ConsoleReporter(Console(file=out, force_terminal=True, width=120))
    with reporter.bar("dense", 2) as advance:
        advance(1, "loss [1.5]")
        reporter.say("a [line] :dog:")
        advance(1, "loss [1.25]")
    assert "a [line] :dog:" in out.getvalue()
    assert "loss [1.25]" in out.getvalue()
    assert "100%" in out.getvalue()


def test_long_lines_stay_whole(capsys: pytest.CaptureFixture[str]) -> None:
    ConsoleReporter(open_console()).say("x" * 5000)
    assert capsys.readouterr().out == "x" * 5000 + "\n"


def test_control_characters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    ConsoleReporter(open_console()).say("a\x1b[2Jb\rc\u202ed [red]é\n")
    assert capsys.readouterr().out == "a\\x1b[2Jb\\rc\\u202ed [red]é\n\n"
