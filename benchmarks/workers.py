"""Runs the cells of a table, some at a time, until all are done or someone stops it.

Each cell is a process with one thread. SIGTERM and Ctrl-C are passed on
to all of them; trainings keep their state, and the next call goes on with them.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from benchmarks.cells import Cell

SECONDS_BETWEEN_LOOKS = 1.0

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Workers:
    """Processes that run cells, at most `number` at a time."""

    number: int
    logs: Path
    """Folder of a file for each cell, with what its commands print."""
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    """Cells whose command ended with an error, and runs that diverged; they are not tried again."""

    def begin(self, cell: Cell) -> None:
        """Starts the cell's command in a session of its own, which no Ctrl-C reaches but ours."""
        command = cell.command()
        print(f"{time.strftime('%H:%M')} {shlex.join(['ltkd', *command])}", flush=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"{cell.name}.log").open("ab") as log:
            self.running[cell.name] = subprocess.Popen(
                [sys.executable, "-m", "ltkd_cli", *command],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ended(self) -> list[str]:
        """Names of the cells whose command has ended well since the last call."""
        codes = {name: process.poll() for name, process in self.running.items()}
        over = {name: code for name, code in codes.items() if code is not None}
        for name, code in over.items():
            del self.running[name]
            if code:
                self.failed.add(name)
                print(f"{name} ended with {code}, see {self.logs / name}.log", flush=True)
        return [name for name, code in over.items() if not code]

    def stop(self) -> None:
        """Asks all to keep their state and end, and waits until they have."""
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            process.wait()


def run(
    cells: Sequence[Cell], number: int, logs: Path, after: Callable[[], None] = lambda: None
) -> None:
    """Runs all cells that are not done, in their order as soon as what they need is done.

    Every cell stands behind those that it needs. One that another process runs is waited for.
    Calls `after` whenever one has ended. A cell that fails keeps only those from running that
    need it; if any failed, the program ends with their names.
    """
    workers = Workers(number, logs)
    with _stop_requests() as asked:
        try:
            while not asked and _step(cells, workers):
                time.sleep(SECONDS_BETWEEN_LOOKS)
                if workers.ended():
                    after()
        finally:
            workers.stop()
        if asked:
            sys.exit(128 + asked[0])
    if workers.failed:
        sys.exit(f"failed: {', '.join(sorted(workers.failed))}")


def _step(cells: Sequence[Cell], workers: Workers) -> bool:
    """Begins what can be begun; whether there is anything left to wait for."""
    states = {cell.name: cell.state() for cell in cells}
    workers.failed |= {name for name, state in states.items() if state == "failed"}
    hopeless, waiting = set(workers.failed), bool(workers.running)
    for cell in cells:
        if hopeless.intersection(cell.needs):
            hopeless.add(cell.name)
        if states[cell.name] == "done" or cell.name in hopeless:
            continue
        waiting = True
        ready = all(states[name] == "done" for name in cell.needs)
        idle = states[cell.name] != "running" and cell.name not in workers.running
        if ready and idle and len(workers.running) < workers.number:
            workers.begin(cell)
    return waiting


@contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """A list that receives the signals which ask the program to stop."""
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in STOPS}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
