"""Work in forked processes, which may crash, hang or be killed at any of their system calls."""

from __future__ import annotations

import io
import json
import os
import signal
import stat
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

WRITES = ("pwrite", "write")
"""Calls that can be left half done."""

CALLS = (
    *(*WRITES, "fsync", "ftruncate", "replace", "rename", "link", "unlink", "mkdir", "rmdir"),
    "open",
)
"""Calls by which a disk is changed: `open` where it is for writing, `write` but for pipes."""

FOR_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

CASES_OF_A_CHILD = 250
"""After which a new process goes on, so that memory does not add up."""


@dataclass(frozen=True)
class Case:
    """One thing to try."""

    name: str
    work: Callable[[], str]
    """Returns what is wrong, in words; an empty text where nothing is."""


def in_child(work: Callable[[], object]) -> int:
    """Runs `work` in a forked process; its wait status."""
    return os.waitpid(start_child(work), 0)[1]


def start_child(work: Callable[[], object]) -> int:
    """Runs `work` in a forked process that is not waited for; its number."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def killed_at(moment: int, work: Callable[[], object], *, half: bool = True) -> bool:
    """Runs `work` in a process that is killed before its call number `moment`; whether it was.

    A write is left half done, unless `half` is off.
    """

    def die(number: int, name: str, finish_half: Callable[[], object]) -> None:
        if number == moment:
            if half and name in WRITES:
                finish_half()
            os.kill(os.getpid(), signal.SIGKILL)

    def doomed() -> None:
        _watch_calls(die)
        work()

    status = in_child(doomed)
    assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL
    return status != 0


def calls_of(work: Callable[[], object]) -> list[str]:
    """Names of all the calls that `work` changes a disk with, in their order."""
    ours, theirs = os.pipe()

    def listening() -> None:
        tell = os.write  # before it is watched
        _watch_calls(lambda number, name, finish_half: tell(theirs, f"{name} ".encode()))
        work()

    pid = start_child(listening)
    os.close(theirs)
    with os.fdopen(ours) as pipe:
        names = pipe.read().split()
    assert os.waitpid(pid, 0)[1] == 0
    return names


def killed_after(seconds: float, work: Callable[[], object]) -> None:
    """Runs `work` in a process that is killed after some time, if it still runs then."""
    pid = start_child(work)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def outcomes(cases: Sequence[Case], seconds: float = 30.0) -> Iterator[str]:
    """What is wrong in each case, tried in a process of which none harms the other cases.

    A case that kills its process, raises or takes longer than `seconds` is wrong.
    """
    position = 0
    while position < len(cases):
        block = cases[position : position + CASES_OF_A_CHILD]
        found, end = _tried(block, seconds)
        yield from found
        position += len(found)
        if len(found) < len(block):
            yield end
            position += 1


def _tried(cases: Sequence[Case], seconds: float) -> tuple[list[str], str]:
    """What was found until the process ended, and how it ended."""
    ours, theirs = os.pipe()

    def work() -> None:
        os.close(ours)
        with os.fdopen(theirs, "w") as pipe:
            for case in cases:
                signal.setitimer(signal.ITIMER_REAL, seconds)
                pipe.write(json.dumps(_found_by(case)) + "\n")
                pipe.flush()

    pid = start_child(work)
    os.close(theirs)
    with os.fdopen(ours) as pipe:
        found = [json.loads(line) for line in pipe if line.endswith("\n")]
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        hung = f"still busy after {seconds:g} s"
        return found, hung if number == signal.SIGALRM else f"killed by {signal.strsignal(number)}"
    return found, f"ended with exit code {os.WEXITSTATUS(status)}"


def _found_by(case: Case) -> str:
    try:
        return case.work()
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {where.filename}:{where.lineno}: {str(error)[:200]}"


Notice = Callable[[int, str, Callable[[], object]], object]
"""Told of a call before it happens: its number, its name, and what would do the half of it."""


def _watch_calls(notice: Notice) -> None:
    """From here on this process tells `notice` of every call by which it changes a disk."""
    numbers = count()
    real = {name: getattr(os, name) for name in CALLS}

    def watched(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if _changes_a_disk(name, arguments):
                notice(next(numbers), name, lambda: _half(real[name], arguments))
            return real[name](*arguments, **options)

        return call

    class Raw(io.FileIO):
        def write(self, data: Any) -> int:
            part = bytes(data)
            notice(next(numbers), "write", lambda: real["write"](self.fileno(), _halved(part)))
            return super().write(part)

    real_fdopen = os.fdopen

    def fdopen(descriptor: int, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if not set(mode) & set("wax+"):
            return real_fdopen(descriptor, mode, *arguments, **options)
        raw = Raw(descriptor, mode.replace("b", ""))
        file = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return file if "b" in mode else io.TextIOWrapper(file, **options)

    for name in CALLS:
        setattr(os, name, watched(name))
    os.fdopen = fdopen  # type: ignore[assignment]


def _changes_a_disk(name: str, arguments: tuple[Any, ...]) -> bool:
    if name == "write":
        return not stat.S_ISFIFO(os.fstat(arguments[0]).st_mode)
    return bool(name != "open" or arguments[1] & FOR_WRITING)


def _half(call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    descriptor, data, *place = arguments
    with suppress(OSError):
        call(descriptor, _halved(bytes(data)), *place)


def _halved(data: bytes) -> bytes:
    return data[: len(data) // 2]
