"""What a run of the command line came to."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


def one_error(outcome: Outcome, *names: object) -> None:
    """One line on stderr, nothing on stdout, and the code of wrong input."""
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    for name in names:
        assert str(name) in outcome.err
