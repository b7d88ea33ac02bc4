"""One queue of trials for all processes of a sweep.

Optuna's own heartbeat is experimental, belongs to ``Study.optimize``, misses a trial whose process
ends before its first heartbeat, and fails a process that returns to a trial that was taken over.
Therefore a process writes a timestamp to its trial every ``BEAT`` seconds. A trial whose timestamp
is older than ``GRACE`` seconds, by the clock of the process that looks, is lost: its choice returns
to the queue as a new trial. So does the choice of a trial that was interrupted or failed. The
clocks of all machines must agree to within less than ``GRACE``.
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
# A choice that fails, or kills its process, this often is not tried again.
TRIES = 5

# Attributes of a trial in the study, beside Optuna's own.
_BEAT, _ORIGIN, _TRIES = "beat", "origin", "tries"
_STOPPED, _UNCOUNTED = "stopped", "uncounted"
_FIRST = "recipe"


class Queue:
    """The trials of one study.

    Attributes:
        study: the study, shared by all processes.
        wanted: number of trials to complete or to stop early, over all processes.
    """

    def __init__(self, study: optuna.Study, wanted: int) -> None:
        self.study = study
        self.wanted = wanted
        # When this process first saw a trial that has no timestamp.
        self._seen: dict[int, float] = {}

    def enqueue_first(self, choice: Choice) -> None:
        """Enqueue the choice of the first trial, unless the study already has it."""
        if not any(_origin(trial) == _FIRST for trial in self._trials()):
            self.study.enqueue_trial(choice, {_ORIGIN: _FIRST})

    def take(self) -> Trial | None:
        """Take the next trial; None if all wanted trials are done or running elsewhere."""
        self._requeue_lost()
        counted = _counted(self._trials())
        queued = any(trial.state == TrialState.WAITING for trial in counted[: self.wanted])
        if not queued and len(counted) >= self.wanted:
            return None
        trial = self.study.ask()
        trial.set_user_attr(_BEAT, time.time())
        # Two processes may have taken one trial each where only one was wanted.
        earlier = [each for each in _counted(self._trials()) if each.number < trial.number]
        origin = trial.user_attrs.get(_ORIGIN)
        twice = origin is not None and any(_origin(each) == origin for each in earlier)
        if twice or (origin is None and len(earlier) >= self.wanted):
            trial.set_user_attr(_UNCOUNTED, True)
            self.study.tell(trial, state=TrialState.FAIL)
            return None
        return trial

    def finish(
        self,
        trial: Trial,
        outcome: Mapping[str, object],
        values: Sequence[float] | None,
        *,
        counts: bool = True,
    ) -> None:
        """Record the outcome of a trial.

        Args:
            trial: a trial of this process.
            outcome: what is stored with the trial.
            values: the objectives; None if the trial was stopped early.
            counts: whether it is one of the wanted trials.
        """
        state = TrialState.COMPLETE if values else TrialState.PRUNED
        with suppress(UpdateFinishedTrialError):  # another process has taken it over
            trial.set_user_attr("outcome", outcome)
            if not counts:
                trial.set_user_attr(_UNCOUNTED, True)
            self.study.tell(trial, values, state, skip_if_finished=True)

    def release(self, trial: Trial, *, stopped: bool) -> None:
        """Return a trial to the queue.

        Args:
            trial: a trial of this process.
            stopped: whether a user interrupted it; otherwise it failed.
        """
        with suppress(UpdateFinishedTrialError):  # another process has taken it over
            trial.set_user_attr(_STOPPED, stopped)
            self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)

    def running(self) -> list[int]:
        """Numbers of the wanted trials that are running, or whose process has died."""
        counted = _counted(self._trials())[: self.wanted]
        return [trial.number for trial in counted if trial.state == TrialState.RUNNING]

    def done(self) -> int:
        """Number of trials that are complete or were stopped early."""
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        return sum(trial.state in states for trial in _counted(self._trials()))

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _requeue_lost(self) -> None:
        """Enqueue the choices of interrupted, failed and lost trials again."""
        for trial in self._trials():
            if trial.state == TrialState.RUNNING and self._is_silent(trial):
                with suppress(UpdateFinishedTrialError):  # its process has just finished it
                    self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        trials = self._trials()
        repeated = {_origin(trial) for trial in trials}
        for trial in trials:
            tries = trial.user_attrs.get(_TRIES, 0) + (not trial.user_attrs.get(_STOPPED))
            if _is_lost(trial) and str(trial.number) not in repeated and tries < TRIES:
                self.study.add_trial(
                    create_trial(
                        state=TrialState.WAITING,
                        params=trial.params,
                        distributions=trial.distributions,
                        system_attrs=trial.system_attrs,  # these hold an enqueued choice
                        user_attrs={_ORIGIN: str(trial.number), _TRIES: tries},
                    )
                )

    def _is_silent(self, trial: FrozenTrial) -> bool:
        now = time.time()
        heard = trial.user_attrs.get(_BEAT) or self._seen.setdefault(trial.number, now)
        return now - float(heard) > GRACE


@contextmanager
def heartbeat(trial: Trial) -> Iterator[None]:
    """Write timestamps to a trial from a thread while the block runs."""
    over = Event()

    def beat() -> None:
        while not over.wait(BEAT):
            # The database may be unreachable for a while.
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
    """Number of the trial that this one repeats; None for a new choice."""
    origin = _origin(trial)
    return int(origin) if origin is not None and origin != _FIRST else None


def is_uncounted(trial: FrozenTrial) -> bool:
    """Whether a trial is surplus or its choice is not possible."""
    return bool(trial.user_attrs.get(_UNCOUNTED))


def _counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that count, without those that another one repeats."""
    repeated = {_origin(trial) for trial in trials}
    return [
        trial for trial in trials if not is_uncounted(trial) and str(trial.number) not in repeated
    ]


def _is_lost(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.FAIL and not is_uncounted(trial)


def _origin(trial: FrozenTrial) -> str | None:
    origin: str | None = trial.user_attrs.get(_ORIGIN)
    return origin
