"""A worker process that loads one network and runs it on request.

Each network has its own process, so that its memory can be measured and its threads do not affect
the other networks.
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
from secateur.benchmark.job import Job, Run, parts, pictures_for
from secateur.benchmark.memory import Memory
from secateur.benchmark.timing import Part, Taken
from secateur.errors import ModelError, SecateurError

# Seconds of running before anything is counted.
_WARM_UP = 0.5
# Seconds after a burst, before another process has its turn. Idle threads of ONNX Runtime spin for
# about 25 ms before they sleep (torch's for less) and would slow the other process down. Spinning
# is not turned off, because deployed networks run with it.
_PAUSE = 0.05
# Seconds for a process to end by itself.
_PATIENCE = 5.0


@contextmanager
def running(jobs: Sequence[Job]) -> Iterator[list["Worker"]]:
    """Start a worker for each job; all have ended when the context exits."""
    workers: list[Worker] = []
    try:
        with _ignoring_interrupts():
            for job in jobs:
                workers.append(Worker(job))  # noqa: PERF401 # all are known if one fails
        yield workers
    except SecateurError:
        raise  # every worker can end by itself
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
    """A worker process, seen from its parent.

    Each method waits for the reply, and raises ``ModelError`` if the process ends instead.
    """

    def __init__(self, job: Job) -> None:
        context = get_context("spawn")
        self.job = job
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(job, theirs), daemon=True)
        self._process.start()
        theirs.close()  # otherwise the end of the process is not noticed

    def loaded(self) -> Memory | None:
        """Wait until the network is loaded and has run; return the memory this took."""
        return cast(Memory | None, self._reply())

    def warm_up(self) -> float:
        """Run for a while; return the seconds of one run of all parts."""
        return cast(float, self._reply(None))

    def burst(self, runs: int) -> Taken:
        """Run every part a number of times."""
        return cast(Taken, self._reply(runs))

    def stop(self) -> None:
        """Terminate the process at once."""
        self._process.terminate()

    def dismiss(self) -> None:
        """Let the process end after its current request."""
        self._connection.close()

    def end(self, patience: float) -> None:
        """Wait a number of seconds for the process to end, then terminate it."""
        self._process.join(patience)
        if self._process.is_alive():
            self.stop()
            self._process.join()
        self._process.close()

    def _reply(self, *requests: int | None) -> object:
        try:
            for request in requests:
                self._connection.send(request)
            reply = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            raise ModelError(_ended(self.job, self._process.exitcode)) from None
        if isinstance(reply, SecateurError):
            raise reply
        return reply


def _serve(job: Job, connection: Connection) -> None:
    """Load, report the memory, then run on request until the parent closes the connection."""
    try:
        ready = _load(job, connection)
        pictures = cycle(pictures_for(job))
        while True:
            runs = connection.recv()
            connection.send(
                _warm_up(ready, pictures) if runs is None else _burst(runs, ready, pictures)
            )
    except (EOFError, ConnectionError):
        pass  # the parent closed the connection
    except SecateurError as error:
        connection.send(error)
    except Exception as error:
        # torch and ONNX Runtime raise their own exceptions when memory is short.
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
        if not ready:  # users load the first part only
            used = memory.since(start)
        ready[part] = run
    connection.send(used)
    return ready


def _burst(runs: int, ready: dict[Part, Run], pictures: Iterator[Any]) -> Taken:
    taken: Taken = {}
    for part, run in ready.items():
        run(next(pictures))  # wakes threads and fills caches; not counted
        taken[part] = [_seconds(run, next(pictures)) for _ in range(runs)]
    time.sleep(_PAUSE)
    return taken


def _warm_up(ready: dict[Part, Run], pictures: Iterator[Any]) -> float:
    once = 0.0
    for run in ready.values():
        start = time.perf_counter()
        seconds = [_seconds(run, next(pictures))]
        while time.perf_counter() - start < _WARM_UP:
            seconds.append(_seconds(run, next(pictures)))
        once += min(seconds)
    time.sleep(_PAUSE)
    return once


def _seconds(run: Run, pictures: Any) -> float:
    start = time.perf_counter()
    run(pictures)
    return time.perf_counter() - start


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Let new processes ignore Ctrl-C: the parent handles it and ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _ended(job: Job, code: int | None) -> str:
    if code == -9:  # Linux kills a process when memory is short
        return _out_of_memory(job)
    return f"{job}: its process ended with code {code}; its messages are printed above"


def _out_of_memory(job: Job) -> str:
    return f"{job}: its process ran out of memory; measure fewer networks or take a smaller --batch"
