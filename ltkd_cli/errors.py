"""Every failure a user can meet, and the exit code it ends with.

LtkdError               1    an expected failure
├── UsageError          2    the command line does not fit
│   └── MethodError     2    a method or one of its options does not fit
├── DataError           1    images or labels that cannot be used
│   ├── DataMismatch    3    two parts of a data set, or a data set and a run, disagree
│   └── DataDamaged     4    stored images that are not what was written
├── CacheError          1    a cache that cannot be written or opened
│   ├── CacheMismatch   3    a good cache that does not fit what was asked
│   └── CacheDamaged    4    bytes that are not what was written
├── CheckpointError     4    weights or training state that cannot be used
├── RunError            1    a run folder that is missing, unfinished or taken
│   └── RunDamaged      4    a record of a run that is not what was written
├── Diverged            1    a loss that is not finite
├── BelowThreshold      5    `eval --fail-under` was not met
└── Interrupted       130    stopped by the user; the hint is the command that resumes
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass

_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff"  # control characters, bytes that are not UTF-8
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"  # line ends, changes of direction
)


def printable(text: str, keep: str = "") -> str:
    """The text with what a terminal would obey, or could not show, as `\\x1b`; but for `keep`.

    Whatever was read from a file goes through here on its way to the screen.
    """
    return _UNPRINTABLE.sub(lambda found: _escaped(found[0], keep), text)


def shortened(text: str, letters: int = 60) -> str:
    """The same of the beginning of a text without spaces around it; `...` where it goes on."""
    plain = text.strip()
    return printable(plain[:letters]) + ("..." if len(plain) > letters else "")


def _escaped(character: str, keep: str) -> str:
    if character in keep:
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte of a name that is not UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


@dataclass(frozen=True)
class Command:
    """A command of ltkd that helps: what to type behind `ltkd`, unquoted, and a remark on it.

    As text it begins with the program's name and is quoted, and the remark is a comment of the
    shell, so that all of it can be pasted; also into zsh, which knows no comments at its prompt and
    passes them on, if there is none of ;&|<>()*?[]'"`$!~= in it.
    """

    arguments: tuple[str, ...]
    remark: str = ""
    processes: int = 1
    """That torchrun is to begin."""

    def __str__(self) -> str:
        program = ["ltkd"]
        if self.processes > 1:
            program = ["torchrun", "--standalone", f"--nproc-per-node={self.processes}"]
            program += ["-m", "ltkd_cli"]
        typed = shlex.join([*program, *self.arguments])
        return f"{typed}  # {self.remark}" if self.remark else typed


def command(*arguments: str | os.PathLike[str], remark: str = "", processes: int = 1) -> Command:
    """The hint `ltkd ARGUMENTS`; with a remark, `ltkd ARGUMENTS  # remark`."""
    return Command(tuple(os.fspath(argument) for argument in arguments), remark, processes)


def look_at(path: str | os.PathLike[str]) -> str:
    """The hint that shows what a path leads to."""
    return f"ls -l {shlex.quote(os.fspath(path))}"


def to_utf8(path: str | os.PathLike[str]) -> str:
    """The hint that makes UTF-8 of a file in Latin-1, of which a copy with that ending stays."""
    new, old = (shlex.quote(f"{os.fspath(path)}{ending}") for ending in ("", ".latin1"))
    return f"mv -- {new} {old} && iconv -f latin1 -t utf8 < {old} > {new}"


Hint = str | Command
"""What to do about an error: options or steps as text, or a command of ltkd."""


class LtkdError(Exception):
    """An expected failure: one sentence, and the next command or step to take."""

    exit_code = 1

    def __init__(self, problem: str, hint: Hint = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint


class UsageError(LtkdError):
    exit_code = 2


class MethodError(UsageError):
    pass


class DataError(LtkdError):
    pass


class DataMismatch(DataError):
    exit_code = 3


class DataDamaged(DataError):
    exit_code = 4


class CacheError(LtkdError):
    pass


class CacheMismatch(CacheError):
    exit_code = 3


class CacheDamaged(CacheError):
    exit_code = 4


class CheckpointError(LtkdError):
    exit_code = 4


class RunError(LtkdError):
    pass


class RunDamaged(RunError):
    exit_code = 4


class Diverged(LtkdError):
    pass


class BelowThreshold(LtkdError):
    exit_code = 5


class Interrupted(LtkdError):
    exit_code = 130
