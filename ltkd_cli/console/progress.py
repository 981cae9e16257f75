"""A pipeline at work: its events in words, and on a terminal as moving lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

from rich.console import Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from ..events import (
    Computed,
    EpochEnd,
    Evaluated,
    Event,
    ExportBegins,
    Exported,
    Facts,
    ImagesKept,
    ImportBegins,
    Note,
    Rebalanced,
    RebalancingBegins,
    Retrained,
    Step,
    TeacherFound,
    TeacherScored,
    TrainingBegins,
    TrainingResumes,
    Warned,
)
from . import rebalancing, terminal
from .caches import print_teacher
from .storage import kept

Result = TypeVar("Result")
Told = TypeVar("Told")

SECONDS_BETWEEN_REDRAWS = 0.2


def follow(events: Generator[Event, None, Result], log_every: int = 0) -> Result:
    """Runs a pipeline to its end, showing its events; returns what it returns.

    Of the epochs of a training, every `log_every`-th gets a line that stays.
    """
    with _Screen(log_every) as screen:
        return _drained(events, screen.show)


def follow_students(
    events: Generator[tuple[int, Event], None, Result], log_every: int = 0
) -> Result:
    """The same for several trainings at once, each event with the seed of its training."""
    with _Screen(log_every) as screen:
        return _drained(events, lambda pair: screen.show(pair[1], pair[0]))


def _drained(events: Generator[Told, None, Result], show: Callable[[Told], None]) -> Result:
    """Shows every event; the generator's return value."""
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            result: Result = end.value
            return result
        show(event)


class _Screen:
    """Moving lines on a terminal; elsewhere only what stays.

    One training has a line with its epoch, a bar and the time that is left, and below it one with
    the loss terms of the last epoch, the speed, and the share of the time spent waiting for
    images. Of several, each has one line, with its seed and speed.
    """

    def __init__(self, log_every: int) -> None:
        self.log_every = log_every
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("{task.fields[speed]}"),
            console=terminal.STDERR,
        )
        self.tasks: dict[int | None, TaskID] = {}
        self.details = Text(no_wrap=True, overflow="ellipsis")
        self.live = Live(Group(self.bars, self.details), console=terminal.STDERR, transient=True)
        self.terms = ""
        self.drawn: dict[int | None, float] = {}

    def __enter__(self) -> _Screen:
        if terminal.moves(terminal.STDERR):
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def show(self, event: Event, seed: int | None = None) -> None:
        """Shows an event; `seed` is that of its training, where several are under way."""
        match event:
            case Step():
                self._step(event, seed)
            case Computed(done, total):
                self._move("computing features", done, total, f"{done:,} of {total:,} views")
            case Retrained(done, total):
                self._move("training the classifier", done, total, "")
            case Exported(done, total):
                self._move("exporting", done, total, f"{done:,} of {total:,} entries")
            case EpochEnd():
                self._epoch(event, seed)
            case Evaluated():
                reached = terminal.accuracies(event.accuracy)
                terminal.note(f"  {_epoch_of(event, seed)}: {event.split} accuracy {reached}")
            case _:
                _say(event)

    def _epoch(self, event: EpochEnd, seed: int | None) -> None:
        self.terms = ", ".join(f"{name} {value:.3f}" for name, value in event.terms.items())
        if self.log_every and event.epoch % self.log_every == 0:
            terminal.note(
                f"  {_epoch_of(event, seed)}: {self.terms}, "
                f"learning rate {event.learning_rate:.3g}, "
                f"{event.images_per_second:,.0f} images/s, waiting {event.waiting:.0%}"
            )

    def _step(self, event: Step, seed: int | None) -> None:
        speed = f"{event.images / max(event.seconds, 1e-9):,.0f} images/s"
        waiting = f"waiting {event.waiting / max(event.seconds, 1e-9):.0%}"
        epoch = f"epoch {event.epoch + 1}/{event.epochs}"
        done, total = event.epoch * event.batches + event.batch, event.epochs * event.batches
        if seed is None:
            terms = [self.terms] if self.terms else []
            self._move(epoch, done, total, ", ".join([*terms, speed, waiting]))
        else:
            self._move(f"seed {seed}, {epoch}", done, total, "", seed, speed)

    def _move(
        self,
        what: str,
        done: int,
        total: int,
        details: str,
        seed: int | None = None,
        speed: str = "",
    ) -> None:
        now = time.monotonic()
        recent = now - self.drawn.get(seed, 0.0) < SECONDS_BETWEEN_REDRAWS
        if recent or not self.live.is_started:
            return
        self.drawn[seed] = now
        if seed not in self.tasks:
            self.tasks[seed] = self.bars.add_task("", speed="")
        self.bars.update(
            self.tasks[seed], description=what, completed=done, total=total, speed=speed
        )
        self.details.plain = f"  {details}" if details else ""


def _epoch_of(event: EpochEnd | Evaluated, seed: int | None) -> str:
    return f"epoch {event.epoch}" if seed is None else f"seed {seed}, epoch {event.epoch}"


def _say(event: Event) -> None:
    """An event that is a sentence or a few facts."""
    match event:
        case Note(text):
            terminal.note(text)
        case Warned(text, hint):
            terminal.warn(text, hint)
        case Facts(title, rows):
            terminal.facts(title, rows)
        case RebalancingBegins():
            rebalancing.begins(event)
        case Rebalanced():
            rebalancing.ended(event)
        case TeacherScored(teacher, split, accuracy):
            terminal.note(f"{teacher}: {split} accuracy {terminal.accuracies(accuracy)}")
        case ImagesKept():
            terminal.note(kept(event))
        case TeacherFound():
            print_teacher(event)
        case TrainingBegins():
            terminal.note(f"{event.run}: {_training(event)}")
        case TrainingResumes(run, epoch, batch):
            terminal.note(f"{run}: resuming after epoch {epoch}, batch {batch}")
        case ExportBegins():
            terminal.note(
                f"{event.path}: {event.run}'s outputs for {event.images:,} images of "
                f"{event.image_set}, views of each: {event.views}, {event.precision} on "
                f"{event.device}"
            )
        case ImportBegins():
            for line in _import(event):
                terminal.note(line)


def _import(event: ImportBegins) -> Iterator[str]:
    yield (
        f"{event.path}: outputs in {event.file} for {event.images:,} images of {event.image_set}, "
        "clean views alone"
    )
    if event.left_out:
        yield f"left out: {event.left_out:,} rows that are of no training image"
    if event.scored_on == "train":
        yield (
            "scored on the training labels, so the accuracy is optimistic; there is no test score "
            "without --test-logits"
        )


def _training(event: TrainingBegins) -> str:
    of_group = "" if event.group == "all" else f"{event.group} classes of "
    return (
        f"{event.model} by {event.method} on {of_group}{event.image_set} "
        f"({event.images:,} images, {event.classes} classes), recipe {event.recipe}, "
        f"epochs {event.epochs}, seed {event.seed}, {event.precision} on {event.device}"
    )
