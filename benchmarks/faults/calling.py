"""Command lines of ltkd, called in this very process."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

from ltkd_cli.cli.app import run


@dataclass(frozen=True)
class Said:
    """What one command line came to."""

    code: int
    out: str
    err: str


def call(*arguments: object, stderr: io.StringIO | None = None) -> Said:
    """Runs one command line; its exit code and what it wrote, to `stderr` if given."""
    written = stderr or io.StringIO()
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(written) as err:
        code = run([str(argument) for argument in arguments])
    return Said(code, out.getvalue(), err.getvalue())


REFUSALS = (1, 2, 3, 4)
"""Exit codes of errors that a user can meet."""


def refused(said: Said, codes: tuple[int, ...] = REFUSALS) -> str:
    """What is wrong with an answer that must be an error, with a sentence and nothing else."""
    if said.code not in codes:
        return f"exit code {said.code}, not of {codes}: {said.out[-200:]}{said.err[-200:]}"
    if said.out or sum(line.startswith("error: ") for line in said.err.splitlines()) != 1:
        return f"exit code {said.code} without one error: {said.out[-200:]}{said.err[-200:]}"
    return ""


def refused_or_same(said: Said, undisturbed: str, codes: tuple[int, ...] = (3, 4)) -> str:
    """What is wrong with an answer that must be an error, or the same as without any fault."""
    if said.code == 0:
        return "" if said.out == undisturbed else f"another answer: {said.out[-200:]}"
    return refused(said, codes)
