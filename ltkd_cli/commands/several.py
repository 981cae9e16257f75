"""Several students at the same time, each in a process of its own (see student.py).

Ctrl-C is for this process alone to hear; it then asks the students to stop. A student that
finds its pipe closed, because this process is no more, stops by itself. Either way it keeps
its state.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path

import torch

from .. import devices, runs
from ..data.decoded import Progress
from ..errors import Interrupted, LtkdError, RunError
from ..events import AtWork, Event, Note, OfSeed, Warned
from ..runs import Run
from ..training.interrupts import stop_requests
from . import caches as teacher_caches
from . import train as training
from .checks import warn_of_images
from .prepare import prepare
from .settings import TrainSettings

SECONDS_BETWEEN_LOOKS = 0.2
"""How late a Ctrl-C is noticed at most."""


def how_many(asked: int | None, seeds: int, device: str) -> int:
    """Students to train at once: as asked, else one for each CPU core, or one on a GPU."""
    if asked is None:
        asked = _cores() if devices.choose_device(device).type == "cpu" else 1
    return min(asked, seeds)


def create(
    root: Path,
    kind: str,
    settings: TrainSettings,
    names: dict[int, str | None],
    at_once: int,
    progress: Progress | None = None,
) -> Generator[Event, None, dict[int, Run]]:
    """Makes a run folder for each seed of `names`, all checked, with nothing trained yet.

    Images are decoded here, once; `progress` hears of it.
    """
    prepared = prepare(settings, progress)
    yield from teacher_caches.introduce(prepared.caches, type(prepared.method))
    yield from warn_of_images(prepared.data)
    threads = _threads_of_each(at_once)
    own = torch.get_num_threads()
    torch.set_num_threads(threads)  # as the students will have, who take them from run.json
    try:
        created = {}
        for seed, name in names.items():
            seeded = replace(prepared, settings=replace(prepared.settings, seed=seed))
            created[seed] = training.create(root, kind, seeded, name)
    finally:
        torch.set_num_threads(own)
    yield Note(f"{len(names)} students, {at_once} at once, CPU threads of each: {threads}")
    return created


@contextmanager
def students(created: dict[int, Run], at_once: int, watch: training.Watch) -> Iterator[Students]:
    """Students of the seeds in `created`, to be trained in those run folders.

    In the end one error says of all that are not done what became of them: Interrupted where
    the user stopped them, else of the kind of the first.
    """
    with stop_requests() as stop:
        group = Students(created, at_once, watch, stop)
        try:
            yield group
        except KeyboardInterrupt:  # a second Ctrl-C
            group.kill()
        finally:
            group.close()
    if errors := group.errors():
        raise _together(errors)


@dataclass
class Student:
    """One that is at work."""

    seed: int
    run: Run
    process: subprocess.Popen[bytes]
    pipe: Connection
    error: LtkdError | None = None
    """What it said last, if that was an error."""


class Students:
    """Those that wait, those at work, and the errors of those that ended but are not done."""

    def __init__(
        self,
        created: dict[int, Run],
        at_once: int,
        watch: training.Watch,
        stop: Callable[[], bool],
    ) -> None:
        self.created = created
        self.waiting = list(created)
        self.at_work: list[Student] = []
        self.unfinished: dict[int, LtkdError] = {}
        self.at_once, self.watch = at_once, watch
        self.stop, self.stopping = stop, False

    def until_one_ends(self) -> Generator[Event, None, Run | None]:
        """What all of them say until one ends, done or not: its Run; None when no one is left."""
        while self.waiting and len(self.at_work) < self.at_once and not self.stop():
            self._begin()
        for student in self.at_work:
            yield OfSeed(student.seed, AtWork())
        while self.at_work:
            if self.stop() and not self.stopping:
                self._ask_to_stop()
            pipes = wait([student.pipe for student in self.at_work], SECONDS_BETWEEN_LOOKS)
            for student in [student for student in self.at_work if student.pipe in pipes]:
                try:
                    said = student.pipe.recv()
                except (EOFError, OSError):  # its process is no more
                    return (yield from self._end(student))
                if isinstance(said, LtkdError):
                    student.error = said
                else:
                    yield OfSeed(student.seed, said)
        return None

    def kill(self) -> None:
        """Stops all at once; each run goes back to its last saved state."""
        for student in self.at_work:
            student.process.kill()

    def close(self) -> None:
        """Waits for those still at work, who stop because nobody listens."""
        for student in self.at_work:
            student.pipe.close()
        for student in self.at_work:
            student.process.wait()

    def errors(self) -> list[LtkdError]:
        """Why runs are not done, one error for each, in the order of the seeds."""
        errors = dict(self.unfinished)
        for student in self.at_work:
            errors[student.seed] = _stopped(student.run)
        for seed in self.waiting:
            run = self.created[seed]
            errors[seed] = Interrupted(f"{run.name} has not begun.", run.resume_command)
        return [errors[seed] for seed in self.created if seed in errors]

    def _begin(self) -> None:
        seed = self.waiting.pop(0)
        run = self.created[seed]
        threads = _threads_of_each(self.at_once)
        ours, theirs = Pipe()
        ours.send((run.path, self.watch))
        with _deaf_to_ctrl_c():
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "ltkd_cli.commands.student", str(theirs.fileno())],
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": str(threads),
                    "PYTHONPATH": os.pathsep.join(sys.path),  # the same modules as here
                },
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        theirs.close()
        self.at_work.append(Student(seed, run, process, ours))

    def _ask_to_stop(self) -> None:
        self.stopping = True
        for student in self.at_work:
            student.process.terminate()

    def _end(self, student: Student) -> Generator[Event, None, Run]:
        student.pipe.close()
        code = student.process.wait()
        self.at_work.remove(student)
        run = runs.read(student.run.path)
        if not run.done:
            error = student.error or (_stopped(run) if self.stopping else _lost(run, code))
            self.unfinished[student.seed] = _named(error, run)
            if not isinstance(error, Interrupted):
                yield Warned(self.unfinished[student.seed].problem)
        return run


def _stopped(run: Run) -> Interrupted:
    problem = f"{run.name} goes back to its last saved state, if it has one."
    return Interrupted(problem, run.resume_command)


def _lost(run: Run, code: int) -> RunError:
    """The error for a process that ended, by a signal or a bug, without a word."""
    how = f"exit code {code}" if code >= 0 else f"a signal ({signal.strsignal(-code)})"
    return RunError(f"The process that trained {run.name} ended by {how}.", run.resume_command)


def _named(error: LtkdError, run: Run) -> LtkdError:
    """The error with the name of the run in it."""
    if run.name in error.problem:
        return error
    return type(error)(f"{run.name}: {error.problem}", error.hint)


def _together(errors: list[LtkdError]) -> LtkdError:
    """All problems and all hints; Interrupted where any is, else of the first one's kind."""
    kind = Interrupted if any(isinstance(e, Interrupted) for e in errors) else type(errors[0])
    hints = dict.fromkeys(str(error.hint) for error in errors)
    return kind("\n".join(error.problem for error in errors), "\n     ".join(hints))


def _cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _threads_of_each(at_once: int) -> int:
    """An equal part of the CPU threads that one student would have; at least 1."""
    return max(1, torch.get_num_threads() // at_once)


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes begun in the body never hear the Ctrl-C that a terminal sends to all of them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
