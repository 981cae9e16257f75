"""What a user sees: progress, facts, tables and errors. Results to stdout, the rest to stderr."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterable, Sequence
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from .errors import LtkdError
from .events import Caution, Checked, Event, Facts, Note
from .export import Exported
from .train import EpochEnd, Step

Result = TypeVar("Result")

STDOUT = Console(highlight=False)
STDERR = Console(stderr=True, highlight=False)
SECONDS_BETWEEN_REDRAWS = 0.2


def note(text: str) -> None:
    """One line about what is being done, to stderr."""
    STDERR.print(escape(text), soft_wrap=True)


def caution(text: str) -> None:
    """One line about what the user may not have meant, to stderr."""
    STDERR.print(f"[yellow]caution:[/] {escape(text)}", soft_wrap=True)


def failure(error: LtkdError) -> None:
    """An error and its hint, to stderr."""
    STDERR.print(f"[bold red]error:[/] {escape(error.problem)}", soft_wrap=True)
    if error.hint:
        STDERR.print(f"[bold]try:[/] {escape(error.hint)}", soft_wrap=True)


def document(value: Any) -> None:
    """One JSON document, to stdout."""
    STDOUT.print_json(json.dumps(value), indent=2) if STDOUT.is_terminal else print_plain(value)


def print_plain(value: Any) -> None:
    """The same without colours, for programs."""
    STDOUT.file.write(json.dumps(value, indent=2) + "\n")


def decoding(done: int, total: int) -> None:
    """Shows on a terminal how many image files are decoded; the line goes when all are."""
    if STDERR.is_terminal:
        text = f"decoding images, once: {done:,} of {total:,}" if done < total else ""
        STDERR.file.write(f"\r\x1b[K{text}")
        STDERR.file.flush()


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], note: str = ""
) -> None:
    """A table to stdout; columns after the first hold numbers and are set to the right."""
    grid = Table(title=title or None, title_justify="left", caption=note or None,
                 caption_justify="left", box=None, pad_edge=False, header_style="bold")  # fmt: skip
    for number, column in enumerate(columns):
        grid.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        grid.add_row(*[escape(cell) for cell in row])
    STDOUT.print(grid)


def facts(title: str, rows: Iterable[tuple[str, str]], to: Console = STDERR) -> None:
    """Named facts, one a line, under a title."""
    grid = Table.grid(padding=(0, 2))
    for name, value in rows:
        grid.add_row(f"  {escape(name)}", escape(value))
    to.print(f"[bold]{escape(title)}[/]", soft_wrap=True)
    to.print(grid)


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


class _Screen:
    """A progress bar on a terminal; only notes, and a line every `log_every` epochs, elsewhere."""

    def __init__(self, log_every: int) -> None:
        self.log_every = log_every
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(compact=True),
            console=STDERR,
            transient=True,
            disable=not STDERR.is_terminal,
        )
        self.task = self.bar.add_task("starting", total=None, text="", visible=False)
        self.terms = ""
        self.drawn = 0.0

    def __enter__(self) -> _Screen:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def show(self, event: Event) -> None:
        match event:
            case Note(text):
                note(text)
            case Caution(text):
                caution(text)
            case Facts(title, rows):
                facts(title, rows)
            case Checked():
                note(f"  epoch {event.epoch}: test accuracy {accuracies(event.accuracy)}")
            case EpochEnd():
                self._end_epoch(event)
            case Step():
                self._step(event)
            case Exported(done, total):
                self._advance("exporting", done, total, f"{done:,} of {total:,} entries")

    def _end_epoch(self, event: EpochEnd) -> None:
        self.terms = ", ".join(f"{name} {value:.3f}" for name, value in event.terms.items())
        if self.log_every and event.epoch % self.log_every == 0:
            note(
                f"  epoch {event.epoch}: {self.terms}, learning rate {event.learning_rate:.3g}, "
                f"{event.images_per_second:,.0f} images/s, waiting {event.waiting:.0%}"
            )

    def _step(self, event: Step) -> None:
        rate = event.images / max(event.seconds, 1e-9)
        share = event.waiting / max(event.seconds, 1e-9)
        text = f"{self.terms}  {rate:,.0f} images/s, waiting {share:.0%}"
        done = event.epoch * event.batches + event.batch
        self._advance(
            f"epoch {event.epoch + 1}/{event.epochs}", done, event.epochs * event.batches, text
        )

    def _advance(self, description: str, done: int, total: int, text: str) -> None:
        if not STDERR.is_terminal or time.monotonic() - self.drawn < SECONDS_BETWEEN_REDRAWS:
            return
        self.drawn = time.monotonic()
        self.bar.update(
            self.task, description=description, completed=done, total=total, text=text, visible=True
        )


def accuracies(accuracy: dict[str, float | None]) -> str:
    """Accuracies by group in words, in percent."""
    return ", ".join(f"{name} {percent(value)}" for name, value in accuracy.items())


def percent(value: float | None) -> str:
    """A share as percent with one decimal; `n/a` for an empty group."""
    return "n/a" if value is None else f"{100 * value:.1f}"
