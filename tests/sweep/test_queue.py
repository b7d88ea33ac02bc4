"""Which process runs which trial, and what happens to trials that end early."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage

from secateur.experiments.sweep import queue as module
from secateur.experiments.sweep.queue import (
    BEAT,
    GRACE,
    TRIES,
    Queue,
    heartbeat,
    is_uncounted,
    origin_of,
)
from secateur.files.optional import quiet

FIRST = {"x": 0.5}


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def storage() -> Iterator[BaseStorage]:
    with quiet("optuna"):
        yield InMemoryStorage()


def process(storage: BaseStorage, wanted: int) -> Queue:
    """The queue as one more process sees it."""
    study = optuna.create_study(
        storage=storage,
        study_name="tiny",
        directions=["maximize", "minimize"],
        load_if_exists=True,
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
    return Queue(study, wanted)


def take(queue: Queue) -> optuna.Trial:
    trial = queue.take()
    assert trial is not None
    return trial


def x_of(trial: optuna.Trial) -> float:
    return trial.suggest_float("x", 0, 1)


def states(queue: Queue) -> list[str]:
    return [trial.state.name for trial in queue.study.get_trials()]


def test_the_recipe_comes_first_and_once(storage: BaseStorage) -> None:
    one, two = process(storage, 3), process(storage, 3)
    one.enqueue_first(FIRST)
    two.enqueue_first(FIRST)
    assert x_of(take(two)) == 0.5
    assert x_of(take(one)) != 0.5
    assert len(states(one)) == 2
    process(storage, 3).enqueue_first(FIRST)  # a sweep that resumes
    assert len(states(one)) == 2


def test_all_processes_together_run_as_many_as_are_wanted(storage: BaseStorage) -> None:
    one, two = process(storage, 3), process(storage, 3)
    first, second = take(one), take(two)
    one.finish(first, {"steps": 4}, [1.0, 2.0])
    third = take(one)
    assert [trial.number for trial in (first, second, third)] == [0, 1, 2]
    assert two.take() is None
    assert two.running() == [1, 2]
    one.finish(third, {"steps": 4}, None)
    two.finish(second, {"steps": 4}, [1.0, 2.0])
    assert (one.take(), two.take(), two.running()) == (None, None, [])
    assert states(one) == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert one.done() == 3
    assert one.study.get_trials()[2].user_attrs["outcome"] == {"steps": 4}
    assert take(process(storage, 4)).number == 3, "more may be wanted later"


def test_two_processes_that_count_at_the_same_time(
    storage: BaseStorage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = process(storage, 1), process(storage, 1)
    ask = two.study.ask
    taken = []

    def ask_too_late(*args: Any) -> optuna.Trial:
        taken.append(take(one))
        return ask(*args)

    monkeypatch.setattr(two.study, "ask", ask_too_late)
    assert two.take() is None
    assert [trial.number for trial in taken] == [0]
    assert states(one) == ["RUNNING", "FAIL"]
    assert is_uncounted(one.study.get_trials()[1])
    clock.now += 10 * GRACE
    one.finish(taken[0], {}, [1.0, 2.0])
    assert (one.take(), one.running()) == (None, []), "nobody repeats it"


def test_the_recipe_runs_once_though_two_processes_enqueue_it(
    storage: BaseStorage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = process(storage, 3), process(storage, 3)
    monkeypatch.setattr(two, "_trials", list)  # looks before the other has written
    one.enqueue_first(FIRST)
    two.enqueue_first(FIRST)
    monkeypatch.undo()
    monkeypatch.setattr(module, "time", clock)
    assert x_of(take(one)) == 0.5
    assert two.take() is None
    assert x_of(take(two)) != 0.5


def test_impossible_choices_are_not_counted(storage: BaseStorage) -> None:
    queue = process(storage, 2)
    for _ in range(3):
        queue.finish(take(queue), {"steps": 0}, None, counts=False)
    assert queue.done() == 0
    queue.finish(take(queue), {"steps": 4}, None)
    queue.finish(take(queue), {"steps": 10}, [1.0, 2.0])
    assert (queue.take(), queue.done()) == (None, 2)
    assert states(queue) == ["PRUNED"] * 4 + ["COMPLETE"]


# ---- processes that die ------------------------------------------------------------------------


def test_the_trial_of_a_silent_process_is_repeated(storage: BaseStorage, clock: Clock) -> None:
    dead, alive = process(storage, 2), process(storage, 2)
    lost = x_of(take(dead))
    own = take(alive)
    alive.finish(own, {}, [1.0, 2.0])
    clock.now += GRACE
    assert alive.take() is None
    assert alive.running() == [0]
    clock.now += 1
    again = take(alive)
    assert (again.number, x_of(again)) == (2, lost)
    assert states(alive) == ["FAIL", "COMPLETE", "RUNNING"]
    assert origin_of(alive.study.get_trials()[2]) == 0
    assert origin_of(alive.study.get_trials()[1]) is None
    assert alive.take() is None
    alive.finish(again, {}, [1.0, 2.0])
    assert (alive.take(), alive.running(), alive.done()) == (None, [], 2)


def test_a_restarted_process_repeats_its_trial(storage: BaseStorage, clock: Clock) -> None:
    first = process(storage, 1)
    first.enqueue_first(FIRST)
    take(first)  # and is killed before it chooses
    clock.now += 1000
    second = process(storage, 1)
    second.enqueue_first(FIRST)
    again = take(second)
    assert (again.number, x_of(again)) == (1, 0.5)


def test_a_process_with_a_heartbeat_keeps_its_trial(storage: BaseStorage, clock: Clock) -> None:
    one, two = process(storage, 1), process(storage, 1)
    trial = take(one)
    for _ in range(10):
        clock.now += BEAT
        trial.set_user_attr("beat", clock.now)
        assert two.take() is None
    assert states(two) == ["RUNNING"]


def test_a_process_that_dies_before_its_first_heartbeat(storage: BaseStorage, clock: Clock) -> None:
    process(storage, 1).study.ask()
    alive = process(storage, 1)
    assert alive.take() is None
    clock.now += GRACE + 1
    assert take(alive).number == 1


def test_a_process_that_finishes_too_late(storage: BaseStorage, clock: Clock) -> None:
    slow, quick = process(storage, 1), process(storage, 1)
    late = take(slow)
    x_of(late)
    clock.now += GRACE + 1
    again = take(quick)
    slow.finish(late, {}, [1.0, 2.0])  # has no effect
    slow.release(late, stopped=True)
    assert states(quick) == ["FAIL", "RUNNING"]
    quick.finish(again, {}, [3.0, 4.0])
    assert quick.done() == 1


def test_two_processes_that_requeue_the_same_trial(
    storage: BaseStorage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, one, two = (process(storage, 1) for _ in range(3))
    x_of(take(dead))
    clock.now += GRACE + 1
    add = two.study.add_trial
    taken = []

    def add_too_late(trial: optuna.trial.FrozenTrial) -> None:
        taken.append(take(one))
        add(trial)

    monkeypatch.setattr(two.study, "add_trial", add_too_late)
    assert two.take() is None
    assert [trial.number for trial in taken] == [1]
    one.finish(taken[0], {}, [1.0, 2.0])
    assert (one.take(), two.take(), one.done()) == (None, None, 1)


# ---- interrupted and failed trials -------------------------------------------------------------


def test_an_interrupted_trial_is_repeated_at_once_and_any_number_of_times(
    storage: BaseStorage,
) -> None:
    queue = process(storage, 1)
    value = x_of(trial := take(queue))
    for number in range(2 * TRIES):
        assert trial.number == number
        queue.release(trial, stopped=True)
        trial = take(queue)
        assert x_of(trial) == value


def test_a_trial_that_kills_every_process_is_not_repeated_for_ever(
    storage: BaseStorage, clock: Clock
) -> None:
    queue = process(storage, 2)
    for _ in range(TRIES):
        x_of(take(queue))
        clock.now += GRACE + 1
    other = take(queue)
    assert other.number == TRIES
    queue.finish(other, {}, [1.0, 2.0])
    assert (queue.take(), queue.running()) == (None, [])
    assert states(queue) == ["FAIL"] * TRIES + ["COMPLETE"]


def test_failed_trials_are_not_repeated_for_ever(storage: BaseStorage) -> None:
    queue = process(storage, 1)
    for _ in range(TRIES):
        queue.release(take(queue), stopped=False)
    assert queue.take() is None


# ---- the heartbeat -------------------------------------------------------------------------------


class Waits:
    """An event that is set after three waits; it records their lengths."""

    def __init__(self) -> None:
        self.waited: list[float] = []
        self.left = 3

    def wait(self, seconds: float) -> bool:
        self.waited.append(seconds)
        self.left -= 1
        return self.left < 0

    def set(self) -> None:
        pass


def test_a_running_trial_gets_timestamps(
    storage: BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, waits = process(storage, 1), Waits()
    monkeypatch.setattr(module, "Event", lambda: waits)
    trial = take(queue)
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: 2_000_000_000.0))
    with heartbeat(trial):
        pass
    assert waits.waited == [BEAT] * 4
    assert queue.study.get_trials()[0].user_attrs["beat"] == 2_000_000_000.0


def test_an_unreachable_database_does_not_stop_a_trial(
    storage: BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, waits = process(storage, 1), Waits()
    monkeypatch.setattr(module, "Event", lambda: waits)
    trial = take(queue)

    def fail(*_: object) -> None:
        raise optuna.exceptions.StorageInternalError

    monkeypatch.setattr(trial, "set_user_attr", fail)
    with heartbeat(trial):
        pass
    assert waits.waited == [BEAT] * 4
