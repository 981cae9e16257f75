"""Several students at the same time, each in a process of its own.

Ctrl-C reaches only this process, which then asks the others to stop after their step. A student
whose events nobody takes any more, because this process is gone, stops as well. Either way its
state is kept.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import NamedTuple

import torch

from .. import devices, runs
from ..errors import Interrupted, LtkdError, RunError
from ..events import Event, Note, Warned
from ..runs import Run
from ..training.interrupts import stop_requests
from ..training.residency import share_gpu
from . import train as training
from .prepare import Prepared
from .settings import Settings, Watch

SECONDS_BETWEEN_CHECKS = 0.2
"""A Ctrl-C is noticed at most this late."""

SPAWN = multiprocessing.get_context("spawn")


class Student(NamedTuple):
    """One that is being trained."""

    seed: int
    run: Run
    process: SpawnProcess
    pipe: Connection
    """Brings its events and, where it fails, its error."""


def default_jobs(device: torch.device) -> int:
    """Students to train at once: one for each CPU thread that PyTorch uses, or one on a GPU."""
    return torch.get_num_threads() if device.type == "cpu" else 1


def create(
    root: Path, kind: str, prepared: Prepared, names: dict[int, str | None], jobs: int
) -> Generator[Event, None, dict[int, Run]]:
    """Makes a run folder for each seed of `names`, with nothing trained yet.

    Each run gets an equal part of this process's CPU threads, which its run.json names.
    """
    threads = torch.get_num_threads()
    share = max(1, threads // jobs)
    torch.set_num_threads(share)
    try:
        created = {}
        for seed, name in names.items():
            seeded = replace(prepared, settings=replace(prepared.settings, seed=seed))
            created[seed] = training.create(root, kind, seeded, name)
    finally:
        torch.set_num_threads(threads)
    yield Note(f"{len(names)} students, {jobs} at a time, CPU threads of each: {share}")
    return created


def train(
    created: dict[int, Run], jobs: int, watch: Watch
) -> Generator[tuple[int, Event], None, LtkdError | None]:
    """Trains in all these run folders, `jobs` at a time; yields events with the seed they are of.

    One that fails does not stop the others. The return value is one error for all runs that are
    not done in the end: Interrupted where the user stopped them, else of the kind of the first.
    """
    waiting, working = list(created.items()), list[Student]()
    errors: dict[int, LtkdError] = {}
    asked_to_stop = False
    with stop_requests() as stop, _left_alone_in_the_end(working):
        while working or (waiting and not stop()):
            while waiting and len(working) < jobs and not stop():
                working.append(_begin(*waiting.pop(0), watch, jobs))
            if stop() and not asked_to_stop:
                asked_to_stop = True
                for student in working:
                    student.process.terminate()
            for student in _with_news(working):
                received = _receive(student.pipe)
                if received is not None and not isinstance(received, LtkdError):
                    yield student.seed, received
                    continue
                working.remove(student)
                if error := _end(student, received, stopped=asked_to_stop):
                    errors[student.seed] = error
                    if not isinstance(error, Interrupted):
                        yield student.seed, Warned(error.problem)
    for seed, run in waiting:
        errors[seed] = Interrupted(f"{run.name} has not begun.", run.resume_command)
    return _together([errors[seed] for seed in created if seed in errors])


def train_in(path: Path, watch: Watch, jobs: int, pipe: Connection) -> None:
    """Trains in a run folder, in a process of its own; sends every event, and the error if any.

    Of a GPU's memory it gets a part, as there may be `jobs` such processes.
    """
    with suppress(BrokenPipeError):  # nobody takes them any more: the state is kept
        try:
            run = runs.read(path)
            share_gpu(devices.choose_device(Settings.of(run).device), jobs)
            with closing(training.resume(run, watch=watch)) as events:
                for event in events:
                    pipe.send(event)
        except LtkdError as error:
            pipe.send(error)


def _begin(seed: int, run: Run, watch: Watch, jobs: int) -> Student:
    ours, theirs = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=train_in, args=(run.path, watch, jobs, theirs), name=run.name)
    with _ctrl_c_blocked():
        process.start()
    theirs.close()
    return Student(seed, run, process, ours)


def _with_news(working: list[Student]) -> list[Student]:
    pipes = wait([student.pipe for student in working], SECONDS_BETWEEN_CHECKS)
    return [student for student in working if student.pipe in pipes]


def _receive(pipe: Connection) -> Event | LtkdError | None:
    """What a student sent; None where its process has ended."""
    try:
        received: Event | LtkdError = pipe.recv()
    except (EOFError, OSError):
        return None
    return received


def _end(student: Student, error: LtkdError | None, *, stopped: bool) -> LtkdError | None:
    """Why a student that is at its end has not finished its run; None where it has."""
    student.pipe.close()
    student.process.join()
    run, code = runs.read(student.run.path), student.process.exitcode or 0
    if run.done:
        return None
    if error:
        named = error.problem if run.name in error.problem else f"{run.name}: {error.problem}"
        return type(error)(named, error.hint)
    if stopped:
        problem = f"{run.name} goes back to its last saved state, if it has one."
        return Interrupted(problem, run.resume_command)
    how = f"exit code {code}" if code >= 0 else f"a signal ({signal.strsignal(-code)})"
    return RunError(f"The process that trained {run.name} ended by {how}.", run.resume_command)


def _together(errors: list[LtkdError]) -> LtkdError | None:
    """All problems and all hints in one error."""
    if not errors:
        return None
    kind = Interrupted if any(isinstance(e, Interrupted) for e in errors) else type(errors[0])
    hints = dict.fromkeys(str(error.hint) for error in errors)
    return kind("\n".join(error.problem for error in errors), "\n     ".join(hints))


@contextmanager
def _left_alone_in_the_end(working: list[Student]) -> Iterator[None]:
    """Students that are still at work after the body stop, as nobody takes their events."""
    try:
        yield
    finally:
        for student in working:
            student.pipe.close()
        for student in working:
            student.process.join()


@contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """Processes begun in the body never get the SIGINT that a terminal sends to all of them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
