"""Lines, facts and tables as a user sees them. Results go to stdout, the rest to stderr."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..errors import Hint, printable

STDOUT = Console(highlight=False)
STDERR = Console(stderr=True, highlight=False)

UNLIMITED = 10_000
"""Columns that files and pipes have: there nothing is wrapped."""


def note(text: str) -> None:
    """One line about what is being done, to stderr."""
    _show(STDERR, Text(_lines(text)))


def follows(what: Hint) -> None:
    """The command that follows, to stderr, in one piece on any terminal: it can be pasted."""
    _show(STDERR, Text(_lines(f"next: {what}")), whole=True)


def warn(text: str, hint: Hint = "") -> None:
    """One line about what the user may not have meant, to stderr, and one with what to do."""
    _show(STDERR, Text.assemble(("warning:", "yellow"), f" {_lines(text)}"))
    if hint:
        _show(STDERR, Text(f"  try: {_lines(str(hint))}"), whole=True)


def result(text: str) -> None:
    """One line of a result, to stdout."""
    _show(STDOUT, Text(_lines(text)))


def result_text(text: Text) -> None:
    """The same with parts in colour or bold."""
    _show(STDOUT, text)


def styled(markup: str) -> None:
    """Text in rich's markup, to stdout."""
    _show(STDOUT, Text.from_markup(_lines(markup)))


def document(value: Any) -> None:
    """One JSON document, to stdout; in colours on a terminal."""
    text = json.dumps(value, indent=2)
    if STDOUT.is_terminal:
        STDOUT.print_json(text, ensure_ascii=True)
    else:
        STDOUT.file.write(text + "\n")


def decoding(done: int, total: int) -> None:
    """Shows on a terminal how many image files are read; the line goes when all are."""
    if moves(STDERR):
        text = f"reading images, once: {done:,} of {total:,}" if done < total else ""
        STDERR.file.write(f"\r\x1b[K{text}")
        STDERR.file.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> None:
    """A table to stdout; the first `words` columns hold words, the others numbers."""
    _show(STDOUT, _grid(columns, rows, words))


def fits(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bool:
    """Whether stdout is wide enough for a table without wrapping any of its cells."""
    needed = Console(width=UNLIMITED).measure(_grid(columns, rows, 1)).maximum
    return not STDOUT.is_terminal or needed <= STDOUT.width


def facts(title: str, rows: Iterable[tuple[str, str]], to: Console = STDERR) -> None:
    """Named facts, one a line, under a title."""
    grid = Table.grid(padding=(0, 2))
    for name, value in rows:
        grid.add_row(f"  {escape(printable(name))}", escape(printable(value)))
    _show(to, Text(printable(title), style="bold"))
    _show(to, grid)


def accuracies(accuracy: dict[str, float | None]) -> str:
    """The accuracy over all images in percent, and those of the groups behind it."""
    groups = [f"{name} {percent(value)}" for name, value in accuracy.items() if name != "all"]
    listed = f" ({', '.join(groups)})" if groups else ""
    return f"{percent(accuracy['all'])} %{listed}"


def percent(value: float | None) -> str:
    """A share as percent with one decimal; `n/a` for an empty group."""
    return "n/a" if value is None else f"{100 * value:.1f}"


def duration(seconds: float) -> str:
    """A time that people can compare: `8 s`, `12 min` or `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def moves(console: Console) -> bool:
    """Whether lines that were written can be written over."""
    return console.is_terminal and not console.is_dumb_terminal


def _lines(text: str) -> str:
    """Text that may have come from a file, in one or several lines."""
    return printable(text, keep="\n")


def _show(to: Console, what: RenderableType, *, whole: bool = False) -> None:
    """On a terminal wrapped between words, but for a `whole` line; elsewhere never, and without
    padding.
    """
    if to.is_terminal:
        to.print(what, soft_wrap=whole)
        return
    text = io.StringIO()
    Console(file=text, width=UNLIMITED, color_system=None, highlight=False).print(what)
    to.file.write("".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines()))


def _grid(columns: Sequence[str], rows: Iterable[Sequence[str]], words: int) -> Table:
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number, column in enumerate(columns):
        if number < words:
            grid.add_column(column, overflow="fold", min_width=len(column))
        else:
            grid.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        grid.add_row(*[escape(_lines(cell)) for cell in row])
    return grid
