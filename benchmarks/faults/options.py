"""Odd values of every option and argument of every command."""

from __future__ import annotations

import os
import resource
import signal
import threading
from collections.abc import Iterator
from random import Random
from typing import Any

from typer.main import get_command

from benchmarks.faults import story
from benchmarks.faults.calling import REFUSALS, call, refused
from benchmarks.faults.children import Case, outcomes
from benchmarks.faults.story import EXPORT, TEACH, TINY, Place
from ltkd_cli.cli.app import app
from ltkd_cli.errors import Interrupted

VALUES = (
    *("", " ", "-1", "0", "1", "nan", "inf", "-inf", "1e999", "1e-400", "0x10", "1_000", "\u0663"),
    *("9" * 30, str(2**63 - 1), str(2**63), "1e18", "0.5", "99999999", "\x1b[31m", "\u00fc"),
    *("\udcff", "x" * 300, "x" * 5000, "/dev/null", "/dev/zero", ".", "..", "a/b", "true", "null"),
    *("[]", "$(x)", "a;b", "=", "x=y", "tail=0.5", "-", "--", "a,b", "1,", "crop+", "+", ":", "@"),
)

COMMANDS: dict[str, tuple[object, ...]] = {
    "teach": (*TEACH, "--epochs", 1),
    "export-logits": (*EXPORT, "--force"),
    "distill": ("distill", "--method", "bkd", "--cache", "cache.h5", *TINY, "--epochs", 1),
    "eval": ("eval", "teacher", "--device", "cpu"),
    "rebalance": ("rebalance", "teacher", "--strategy", "tau-norm", "--device", "cpu"),
    "runs": ("runs",),
    "methods": ("methods",),
    "data": ("data", "images"),
    "doctor": ("doctor", "images"),
    "views": ("views", "--data", "images"),
    "cache info": ("cache", "info", "cache.h5"),
    "cache verify": ("cache", "verify", "cache.h5"),
}
"""What each command needs to come to its end, to which one option is added."""

PART = 0.15
"""Of all lines, drawn by the seed; all of them take most of an hour."""

SECONDS_UNTIL_CTRL_C = 5.0
"""Of a command that an odd value has given a lot to do; it must heed it."""

MEMORY, FILE = 24 * 2**30, 2**30
"""Bytes that a command may take, and write into one file."""


def odd_options(place: Place, random: Random, share: float) -> Iterator[tuple[str, str]]:
    """Each command line, and what is wrong with the answer to it."""
    lines = [line for line in _lines() if random.random() < PART * share]
    cases = [Case(" ".join(line), lambda line=line: _tried(place, line)) for line in lines]
    for line, wrong in zip(lines, outcomes(cases, 60.0), strict=True):
        yield " ".join(text[:60] for text in line), wrong


def _lines() -> Iterator[tuple[str, ...]]:
    """Every command with every option that takes a value, and every value of it."""
    for name, base in COMMANDS.items():
        begun = tuple(map(str, base))
        for parameter in _parameters(name):
            for value in VALUES:
                if parameter.param_type_name == "argument":
                    yield (*name.split(), f"./{value}" if value.startswith("-") else value)
                else:
                    yield (*begun, f"{parameter.opts[0]}={value}")


def _parameters(name: str) -> list[Any]:
    """Options and arguments of a command that take a value."""
    command: Any = get_command(app)
    for part in name.split():
        command = command.commands[part]
    return [each for each in command.params if not getattr(each, "is_flag", False)]


def _tried(place: Place, line: tuple[str, ...]) -> str:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    story.enter(place.copy("options"))
    pressed = threading.Event()

    def ctrl_c() -> None:
        pressed.set()
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(SECONDS_UNTIL_CTRL_C, ctrl_c)
    timer.start()
    try:
        said = call(*line)
    finally:
        timer.cancel()
    if "\x1b" in said.out + said.err:
        return "an escape for the terminal"
    if said.code == 0 or (pressed.is_set() and said.code == Interrupted.exit_code):
        return ""
    if line[0] == "doctor" and said.code == 1 and said.out:
        return ""  # a list of problems is what it was asked for
    return refused(said, (*REFUSALS, 5))
