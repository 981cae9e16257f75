"""What the pipeline reports while it works; the console renders it, or nobody does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """A sentence about what is being done."""

    text: str


@dataclass(frozen=True)
class Warned:
    """A sentence about something that the user may not have meant."""

    text: str


@dataclass(frozen=True)
class Facts:
    """Named facts about one thing, in order."""

    title: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Checked:
    """Accuracy in the middle of a training."""

    epoch: int
    split: str
    """`test`, or `validation` where images were held out."""
    accuracy: dict[str, float | None]
    """By group, in [0, 1]; None for an empty group."""


@dataclass(frozen=True)
class Computed:
    """Views of images whose features are computed, out of all."""

    done: int
    total: int


@dataclass(frozen=True)
class Retrained:
    """Images drawn to re-train a classifier, out of all in all epochs."""

    done: int
    total: int


@dataclass(frozen=True)
class Step:
    """A step was taken. Nothing here waits for the device."""

    epoch: int
    """Epochs done before this one."""
    epochs: int
    batch: int
    """Batches of this epoch that are done."""
    batches: int
    images: int
    """Images seen in this epoch."""
    seconds: float
    """Since the epoch began, or was taken up again."""
    waiting: float
    """Of these, seconds in which the step waited for its batch."""


@dataclass(frozen=True)
class EpochEnd:
    """An epoch is done: the means of its loss terms over the images seen."""

    epoch: int
    """Epochs that are done."""
    epochs: int
    terms: dict[str, float]
    learning_rate: float
    images_per_second: float
    waiting: float
    """Share of the time in which a step waited for its batch, in [0, 1]."""


@dataclass(frozen=True)
class Exported:
    """Entries of a cache that are written, out of all."""

    done: int
    total: int


@dataclass(frozen=True)
class AtWork:
    """A training goes on, or is about to begin; more will be heard of it."""


@dataclass(frozen=True)
class OfSeed:
    """What one of several students says that train at the same time."""

    seed: int
    event: Event


Event = (
    Note
    | Warned
    | Facts
    | Checked
    | Computed
    | Retrained
    | Step
    | EpochEnd
    | Exported
    | AtWork
    | OfSeed
)
