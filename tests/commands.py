"""The outcome of a run of the command line."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


def one_error(outcome: Outcome, *names: object) -> None:
    """Check that wrong input gave one line on stderr, nothing on stdout, and exit code 2."""
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    for name in names:
        assert str(name) in outcome.err
