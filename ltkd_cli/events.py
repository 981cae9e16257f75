"""What the pipeline reports while it works; the console puts it into words, or nobody does."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import Hint


@dataclass(frozen=True)
class Note:
    """A sentence about what is being done."""

    text: str


@dataclass(frozen=True)
class Warned:
    """A sentence about something that the user may not have meant, and what to do about it."""

    text: str
    hint: Hint = ""


@dataclass(frozen=True)
class Facts:
    """Named facts about one thing, in order."""

    title: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ImagesKept:
    """How the decoded files of an image set are kept, and why so."""

    image_set: str
    images: int
    stored: bool
    """In the cache folder; else each is decoded whenever it is needed."""
    size: int
    """Bytes of all images decoded."""
    exact: bool
    """Whether `size` was counted; else it is estimated from some images."""
    short_side: int | None
    """Pixels that the short side of a photograph has at most; None where no file is larger."""
    why: str
    """`there`, `asked`, `fits`, `limit` or `room`."""
    limit: int
    """Bytes up to which images are stored unless it is asked for."""
    free: int
    """Bytes that the disk of the folder has free."""
    folder: str
    """The cache folder."""


@dataclass(frozen=True)
class CacheContents:
    """What a cache holds, and who its teacher was."""

    path: str
    image_set: str
    images: int
    classes: int
    width: int
    """Of the features; 0 where none are stored."""
    dtype: str
    """Of the logits."""
    views: tuple[int, int]
    """The fewest and the most of an image."""
    policy: str
    view_seed: int
    teacher: str
    """Its network."""
    trained_by: str
    trained_on: int
    """Classes that the teacher was trained on; 0 for all."""
    accuracies: dict[str, float | None]
    """By group, in [0, 1]."""
    scored_on: str
    """The split that they are from: the test set, or `train` for outputs from elsewhere."""
    from_elsewhere: bool = False
    """Whether the outputs came in a file, so that nobody knows the teacher."""
    averaged: int = 0
    """Teachers whose mean the logits are; 0 for those of one."""


@dataclass(frozen=True)
class TeacherFound:
    """A cache that a student will learn from, and what its method reads there."""

    cache: CacheContents
    method: str
    needs: tuple[str, ...]
    sampler: str


@dataclass(frozen=True)
class TrainingBegins:
    """A network is about to be trained in a run folder."""

    run: str
    model: str
    method: str
    image_set: str
    group: str
    """The classes of an expert, or `all`."""
    images: int
    classes: int
    recipe: str
    epochs: int
    seed: int
    precision: str
    device: str


@dataclass(frozen=True)
class TrainingResumes:
    """A training continues from its saved state."""

    run: str
    epoch: int
    """Epochs that are done."""
    batch: int
    """Batches of the next epoch that are done."""


@dataclass(frozen=True)
class ExportBegins:
    """A teacher's outputs are about to be computed."""

    path: str
    run: str
    image_set: str
    images: int
    views: int
    precision: str
    device: str


@dataclass(frozen=True)
class ImportBegins:
    """Outputs that were computed elsewhere are about to be put into a cache."""

    path: str
    file: str
    """Of the logits."""
    image_set: str
    images: int
    scored_on: str
    """The split whose labels they were scored on: `train`, or `test` where it has outputs."""
    left_out: int
    """Rows of the file that are of no training image."""


@dataclass(frozen=True)
class Evaluated:
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
class TeacherScored:
    """A teacher that is no run was scored, before its cache is written."""

    teacher: str
    split: str
    """Of the images that it was scored on."""
    accuracy: dict[str, float | None]
    """By split, as shares; None for a group without classes."""


@dataclass(frozen=True)
class RebalancingBegins:
    """What a classifier is re-trained on or adjusted by, and what choices are made on."""

    run: str
    strategy: str
    validation_images: int
    held_out: bool
    """Whether these were held out of the training; else they are some that it learned from."""
    views: int
    """Of each of them."""
    train_images: int
    retraining: Retraining | None
    """None for an adjustment."""
    chosen: tuple[str, ...]
    """What is chosen on the validation images: `strength`, `temperature`, or nothing."""


@dataclass(frozen=True)
class Retraining:
    """How a classifier is trained anew."""

    epochs: int
    batch_size: int
    learning_rate: float
    new_views: bool
    """Whether every epoch has new views of the images."""
    moving_statistics: bool
    """Whether the batch normalisation of the backbone takes up the statistics of each batch."""


@dataclass(frozen=True)
class Rebalanced:
    """What came of it; accuracies are shares."""

    name: str
    """The new run."""
    source: str
    """The run that it came from."""
    strategy: str
    summary: str
    """What was chosen or trained."""
    before: float
    """Balanced accuracy on the validation images."""
    after: float
    worse: bool
    """Whether `after` is below `before` beyond what chance explains."""
    test_before: dict[str, float]
    """Test accuracy of the source, by split."""


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


Event = (
    Note
    | Warned
    | Facts
    | ImagesKept
    | TeacherFound
    | TrainingBegins
    | TrainingResumes
    | ExportBegins
    | ImportBegins
    | Evaluated
    | Computed
    | Retrained
    | TeacherScored
    | RebalancingBegins
    | Rebalanced
    | Step
    | EpochEnd
    | Exported
)
