"""What a user sees: progress, facts and tables. Results to stdout, the rest to stderr."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Generator, Iterable, Sequence
from typing import Any, TypeVar

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from ..errors import printable
from ..events import (
    AtWork,
    Checked,
    Computed,
    EpochEnd,
    Event,
    Exported,
    Facts,
    Note,
    OfSeed,
    Retrained,
    Step,
    Warned,
)

Result = TypeVar("Result")

STDOUT = Console(highlight=False)
STDERR = Console(stderr=True, highlight=False)

SECONDS_BETWEEN_REDRAWS = 0.2

UNLIMITED = 10_000
"""Columns that files and pipes have: there nothing is wrapped."""


def note(text: str) -> None:
    """One line about what is being done, to stderr."""
    _show(STDERR, Text(_lines(text)))


def caution(text: str) -> None:
    """One line about what the user may not have meant, to stderr."""
    _show(STDERR, Text.assemble(("caution:", "yellow"), f" {_lines(text)}"))


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
    if _moves(STDERR):
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


def follow(events: Generator[Event, None, Result], log_every: int = 0) -> Result:
    """Runs a pipeline to its end, showing its events; returns what it returns."""
    with _Screen(log_every) as screen:
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                result: Result = end.value
                return result
            screen.show(event)


def accuracies(accuracy: dict[str, float | None]) -> str:
    """Accuracies by group in words, in percent."""
    return ", ".join(f"{name} {percent(value)}" for name, value in accuracy.items())


def percent(value: float | None) -> str:
    """A share as percent with one decimal; `n/a` for an empty group."""
    return "n/a" if value is None else f"{100 * value:.1f}"


def duration(seconds: float) -> str:
    """A time that people can compare: `8 s`, `12 min` or `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class _Screen:
    """Two moving lines on a terminal; only notes, and a line every `log_every` epochs, elsewhere.

    The first line holds the epoch, a bar and the time that is left; the second the loss terms
    of the last epoch, the speed, and the share of the time spent waiting for images. Of several
    students that train at once, each has one line instead, with its seed, epoch and speed.
    """

    def __init__(self, log_every: int) -> None:
        self.log_every = log_every
        self.bar = _bars(32)
        self.task = self.bar.add_task("", total=None, visible=False)
        self.students = _bars(20, TextColumn("{task.fields[speed]}"))
        self.tasks: dict[int, TaskID] = {}
        self.details = Text(no_wrap=True, overflow="ellipsis")
        self.live = Live(
            Group(self.bar, self.students, self.details), console=STDERR, transient=True
        )
        self.terms = ""
        self.drawn: dict[int | None, float] = {}

    def __enter__(self) -> _Screen:
        if _moves(STDERR):
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def show(self, event: Event) -> None:
        match event:
            case Note(text):
                note(text)
            case Warned(text):
                caution(text)
            case Facts(title, rows):
                facts(title, rows)
            case Checked() | EpochEnd():
                self._log(event)
            case Step():
                self._step(event)
            case OfSeed(seed, AtWork()):
                self.tasks[seed] = self.students.add_task(f"seed {seed}", total=None, speed="")
            case OfSeed(seed, Step() as step):
                self._student_step(seed, step)
            case OfSeed(seed, Checked() | EpochEnd() as said):
                self._log(said, f"seed {seed}, ")
            case OfSeed(_, said):  # it names its run
                self.show(said)
            case Computed(done, total):
                self._advance("computing features", done, total, f"{done:,} of {total:,} views")
            case Retrained(done, total):
                self._advance("training the classifier", done, total, "")
            case Exported(done, total):
                self._advance("exporting", done, total, f"  {done:,} of {total:,} entries")

    def _log(self, event: Checked | EpochEnd, whose: str = "") -> None:
        line = f"  {whose}epoch {event.epoch}: "
        if isinstance(event, Checked):
            note(f"{line}{event.split} accuracy {accuracies(event.accuracy)}")
            return
        self.terms = ", ".join(f"{name} {value:.3f}" for name, value in event.terms.items())
        if self.log_every and event.epoch % self.log_every == 0:
            note(
                f"{line}{self.terms}, learning rate {event.learning_rate:.3g}, "
                f"{event.images_per_second:,.0f} images/s, waiting {event.waiting:.0%}"
            )

    def _step(self, event: Step) -> None:
        speed = f"{_speed(event)}, waiting {event.waiting / max(event.seconds, 1e-9):.0%}"
        self._advance(
            f"epoch {event.epoch + 1}/{event.epochs}",
            event.epoch * event.batches + event.batch,
            event.epochs * event.batches,
            f"  {self.terms}, {speed}" if self.terms else f"  {speed}",
        )

    def _advance(self, description: str, done: int, total: int, details: str) -> None:
        if self._is_due():
            self.details.plain = details
            self.bar.update(
                self.task, description=description, completed=done, total=total, visible=True
            )

    def _student_step(self, seed: int, event: Step) -> None:
        if self._is_due(seed):
            self.students.update(
                self.tasks[seed],
                description=f"seed {seed}, epoch {event.epoch + 1}/{event.epochs}",
                completed=event.epoch * event.batches + event.batch,
                total=event.epochs * event.batches,
                speed=_speed(event),
            )

    def _is_due(self, seed: int | None = None) -> bool:
        """Whether it is time to draw a moving line again: that of a seed, or the only one."""
        now = time.monotonic()
        if not self.live.is_started or now - self.drawn.get(seed, 0.0) < SECONDS_BETWEEN_REDRAWS:
            return False
        self.drawn[seed] = now
        return True


def _bars(width: int, *columns: TextColumn) -> Progress:
    """Moving lines with a bar of `width` columns, the share done, the time left, and `columns`."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=width),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        *columns,
        console=STDERR,
    )


def _lines(text: str) -> str:
    """Text that may have come from a file, in one or several lines."""
    return printable(text, keep="\n")


def _speed(event: Step) -> str:
    return f"{event.images / max(event.seconds, 1e-9):,.0f} images/s"


def _moves(console: Console) -> bool:
    """Whether lines that were written can be written over."""
    return console.is_terminal and not console.is_dumb_terminal


def _show(to: Console, what: RenderableType) -> None:
    """On a terminal wrapped between words; elsewhere never wrapped, and without padding."""
    if to.is_terminal:
        to.print(what)
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
