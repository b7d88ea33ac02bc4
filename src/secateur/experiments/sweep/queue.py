"""Who does which trial: one queue for all processes that work at a sweep.

Optuna's own heartbeat is experimental, belongs to ``Study.optimize``, never notices a trial whose
process ended before its first beat, and fails a process that comes back to a trial which was given
up. So we have our own. A process says every ``BEAT`` seconds that it is still at its trial. One
that has not been heard of for ``GRACE`` seconds, by the clock of whoever looks, is taken for dead,
and its trial goes back into the queue with the same choice, as a trial of its own. So does one that
was stopped, or that failed. Clocks must agree to within less than that.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import Event, Thread

import optuna
from optuna.exceptions import OptunaError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from secateur.experiments.sweep.space import Choice

# Seconds.
BEAT = 15.0
GRACE = 60.0
# A trial that so many processes did not survive is left alone.
TRIES = 5

# What is written down of a trial beside Optuna's own.
_BEAT, _ORIGIN, _TRIES = "beat", "origin", "tries"
_STOPPED, _UNCOUNTED = "stopped", "uncounted"
_FIRST = "recipe"


class Queue:
    """The trials of one study, of which so many are wanted in all.

    Attributes:
        study: shared by all processes.
        wanted: trials that shall go through or be given up as hopeless.
    """

    def __init__(self, study: optuna.Study, wanted: int) -> None:
        self.study = study
        self.wanted = wanted
        # When a trial that nobody has spoken for was first seen.
        self._seen: dict[int, float] = {}

    def begin_with(self, choice: Choice) -> None:
        """Put a choice in front, unless that was done before."""
        if not any(_origin(trial) == _FIRST for trial in self._trials()):
            self.study.enqueue_trial(choice, {_ORIGIN: _FIRST})

    def take(self) -> Trial | None:
        """Take the next trial; None if all that are wanted are done, or in other hands."""
        self._put_back()
        counted = _counted(self._trials())
        queued = any(trial.state == TrialState.WAITING for trial in counted[: self.wanted])
        if not queued and len(counted) >= self.wanted:
            return None
        trial = self.study.ask()
        trial.set_user_attr(_BEAT, time.time())
        # Two processes may have counted at the same time.
        earlier = [each for each in _counted(self._trials()) if each.number < trial.number]
        origin = trial.user_attrs.get(_ORIGIN)
        twice = origin is not None and any(_origin(each) == origin for each in earlier)
        if twice or (origin is None and len(earlier) >= self.wanted):
            trial.set_user_attr(_UNCOUNTED, True)
            self.study.tell(trial, state=TrialState.FAIL)
            return None
        return trial

    def hand_in(
        self,
        trial: Trial,
        outcome: Mapping[str, object],
        values: Sequence[float] | None,
        *,
        counts: bool = True,
    ) -> None:
        """Write down what became of a trial.

        Args:
            trial: of this process.
            outcome: whatever is to be known of it.
            values: the objectives; None of one that was given up as hopeless.
            counts: among those that are wanted.
        """
        state = TrialState.COMPLETE if values else TrialState.PRUNED
        with suppress(UpdateFinishedTrialError):  # it was taken for dead, and is done again
            trial.set_user_attr("outcome", outcome)
            if not counts:
                trial.set_user_attr(_UNCOUNTED, True)
            self.study.tell(trial, values, state, skip_if_finished=True)

    def put_down(self, trial: Trial, *, stopped: bool) -> None:
        """Leave a trial to whoever takes it next.

        Args:
            trial: of this process.
            stopped: somebody wished it; or else it failed.
        """
        with suppress(UpdateFinishedTrialError):  # it was taken for dead
            trial.set_user_attr(_STOPPED, stopped)
            self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)

    def taken_by_others(self) -> list[int]:
        """Numbers of the trials that other processes are at, or died at."""
        counted = _counted(self._trials())[: self.wanted]
        return [trial.number for trial in counted if trial.state == TrialState.RUNNING]

    def done(self) -> int:
        """How many of the trials are through, or were given up as hopeless."""
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        return sum(trial.state in states for trial in _counted(self._trials()))

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _put_back(self) -> None:
        """Put what was stopped, failed or lost its process into the queue again."""
        for trial in self._trials():
            if trial.state == TrialState.RUNNING and self._is_silent(trial):
                with suppress(UpdateFinishedTrialError):  # it has come back this moment
                    self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        trials = self._trials()
        again = {_origin(trial) for trial in trials}
        for trial in trials:
            tries = trial.user_attrs.get(_TRIES, 0) + (not trial.user_attrs.get(_STOPPED))
            if _is_lost(trial) and str(trial.number) not in again and tries < TRIES:
                self.study.add_trial(
                    create_trial(
                        state=TrialState.WAITING,
                        params=trial.params,
                        distributions=trial.distributions,
                        system_attrs=trial.system_attrs,  # with what it was to begin with
                        user_attrs={_ORIGIN: str(trial.number), _TRIES: tries},
                    )
                )

    def _is_silent(self, trial: FrozenTrial) -> bool:
        now = time.time()
        heard = trial.user_attrs.get(_BEAT) or self._seen.setdefault(trial.number, now)
        return now - float(heard) > GRACE


@contextmanager
def at_work(trial: Trial) -> Iterator[None]:
    """Let the other processes know that this one is at a trial."""
    over = Event()

    def beat() -> None:
        while not over.wait(BEAT):
            # A database that cannot be reached for a while is no reason to stop.
            with suppress(OptunaError, SQLAlchemyError):
                trial.set_user_attr(_BEAT, time.time())

    thread = Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def origin_of(trial: FrozenTrial) -> int | None:
    """Number of the trial that this one does again; None of one that is new."""
    origin = _origin(trial)
    return int(origin) if origin is not None and origin != _FIRST else None


def is_uncounted(trial: FrozenTrial) -> bool:
    """Whether a trial is not among those that are wanted: one too many, or not possible."""
    return bool(trial.user_attrs.get(_UNCOUNTED))


def _counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """All that are wanted, each under the number under which it was done last."""
    again = {_origin(trial) for trial in trials}
    return [trial for trial in trials if not is_uncounted(trial) and str(trial.number) not in again]


def _is_lost(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.FAIL and not is_uncounted(trial)


def _origin(trial: FrozenTrial) -> str | None:
    origin: str | None = trial.user_attrs.get(_ORIGIN)
    return origin
