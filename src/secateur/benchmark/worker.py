"""A process that holds one network and runs it when told to.

Each network has a process of its own, so that its memory is its own and its threads are set for it
alone.
"""

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, cast

from secateur.benchmark import memory
from secateur.benchmark.job import Job
from secateur.benchmark.memory import Memory
from secateur.benchmark.parts import Run, parts, pictures_for
from secateur.benchmark.rounds import Part, Taken
from secateur.errors import ModelError, SecateurError

# Of running, before anything counts; seconds.
_WARM_UP = 0.5
# After a burst, before another process has its turn; seconds. Idle threads of ONNX Runtime look
# out for work for some 25 ms before they sleep, those of torch for less, and would disturb it. To
# forbid them that would be to time something that nobody ships.
_CALM = 0.05

# For a process to end by itself; seconds.
_PATIENCE = 5.0


@contextmanager
def running(jobs: Sequence[Job]) -> Iterator[list["Worker"]]:
    """Start a worker for each job, and leave none behind."""
    workers: list[Worker] = []
    try:
        with _deaf():
            for job in jobs:
                workers.append(Worker(job))  # noqa: PERF401 # none is forgotten if one fails
        yield workers
    except SecateurError:
        raise  # a worker that is to blame has its own exit to make, and the others have time
    except BaseException:
        for worker in workers:
            worker.stop()
        raise
    finally:
        for worker in workers:
            worker.dismiss()
        until = time.monotonic() + _PATIENCE
        for worker in workers:
            worker.end(max(0.0, until - time.monotonic()))


class Worker:
    """A process, as its parent sees it.

    Each method waits for the answer, and raises ``ModelError`` if the process ends instead.
    """

    def __init__(self, job: Job) -> None:
        context = get_context("spawn")
        self.job = job
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(job, theirs), daemon=True)
        self._process.start()
        theirs.close()  # or the end of the process would not be noticed

    def loaded(self) -> Memory | None:
        """Wait until the network is loaded and has run; give the memory that took."""
        return cast(Memory | None, self._answer())

    def warm_up(self) -> float:
        """Run for a while; give the seconds that one run of all parts takes."""
        return cast(float, self._answer(None))

    def burst(self, runs: int) -> Taken:
        """Run every part so many times."""
        return cast(Taken, self._answer(runs))

    def stop(self) -> None:
        """Stop the process in the middle of what it does."""
        self._process.terminate()

    def dismiss(self) -> None:
        """Let the process end when it has done what it is at."""
        self._connection.close()

    def end(self, patience: float) -> None:
        """Wait so many seconds for the process to end, then stop it."""
        self._process.join(patience)
        if self._process.is_alive():
            self.stop()
            self._process.join()
        self._process.close()

    def _answer(self, *orders: int | None) -> object:
        try:
            for order in orders:
                self._connection.send(order)
            answer = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            raise ModelError(_obituary(self.job, self._process.exitcode)) from None
        if isinstance(answer, SecateurError):
            raise answer
        return answer


def _serve(job: Job, connection: Connection) -> None:
    """Load, tell the memory it took, then run when told to until the parent is gone."""
    try:
        ready = _load(job, connection)
        pictures = cycle(pictures_for(job))
        while True:
            runs = connection.recv()
            connection.send(
                _warm_up(ready, pictures) if runs is None else _burst(runs, ready, pictures)
            )
    except (EOFError, ConnectionError):
        pass  # the parent is gone
    except SecateurError as error:
        connection.send(error)
    except Exception as error:
        # torch and ONNX Runtime have exceptions of their own for it.
        if not isinstance(error, MemoryError) and "alloc" not in str(error):
            raise
        connection.send(ModelError(_out_of_memory(job)))


def _load(job: Job, connection: Connection) -> dict[Part, Run]:
    start = memory.before()
    pictures = pictures_for(job)[0]
    ready: dict[Part, Run] = {}
    for part, run in parts(job):
        run(pictures)
        run(pictures)
        if not ready:  # what is loaded besides is there only to be timed
            used = memory.since(start)
        ready[part] = run
    connection.send(used)
    return ready


def _burst(runs: int, ready: dict[Part, Run], pictures: Iterator[Any]) -> Taken:
    taken: Taken = {}
    for part, run in ready.items():
        run(next(pictures))  # wakes threads and fills caches; not counted
        taken[part] = [_seconds(run, next(pictures)) for _ in range(runs)]
    time.sleep(_CALM)
    return taken


def _warm_up(ready: dict[Part, Run], pictures: Iterator[Any]) -> float:
    once = 0.0
    for run in ready.values():
        start = time.perf_counter()
        seconds = [_seconds(run, next(pictures))]
        while time.perf_counter() - start < _WARM_UP:
            seconds.append(_seconds(run, next(pictures)))
        once += min(seconds)
    time.sleep(_CALM)
    return once


def _seconds(run: Run, pictures: Any) -> float:
    start = time.perf_counter()
    run(pictures)
    return time.perf_counter() - start


@contextmanager
def _deaf() -> Iterator[None]:
    """Start processes that do not hear Ctrl-C: the parent does, and ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _obituary(job: Job, code: int | None) -> str:
    if code == -9:  # killed, as Linux does where memory is short
        return _out_of_memory(job)
    return f"{job}: its process ended with code {code}; what it said stands above"


def _out_of_memory(job: Job) -> str:
    return f"{job}: its process ran out of memory; take fewer networks at once or a smaller --batch"
