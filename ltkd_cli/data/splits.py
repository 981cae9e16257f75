"""What a reader finds: the images of every split and their labels, before any image is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import DataError, DataMismatch
from .failures import is_control, name_some
from .files import Listing
from .imageset import DataSpec

NAMES = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "val": ("val", "valid", "validation", "dev"),
}
"""What files call the splits, by the names that they have here."""

ONE_LABEL = "softmax distillation is for one label an image; use a set with single labels"
"""What to do where an image has several labels."""

MAX_NAME = 200
"""Characters of a class name; a longer one is no name but a mistake."""


@dataclass(frozen=True)
class Splits:
    """The splits of an image set that consists of image files."""

    spec: DataSpec
    """With the paths that were found filled in."""
    train: Listing
    test: Listing
    validation: Listing | None = None
    """Images that the set itself puts aside for validation."""
    warnings: tuple[str, ...] = ()
    filling: str = "give images to these classes, or remove them"
    """What to do about classes without training images."""

    def all(self) -> Iterator[Listing]:
        """The listings of all splits."""
        yield self.train
        yield self.test
        if self.validation is not None:
            yield self.validation


def split_of(name: str) -> str | None:
    """`train`, `test` or `val` for what a file calls a split; None where it is none of them."""
    plain = name.strip().lower()
    return next((split for split, names in NAMES.items() if plain in names), None)


def empty_classes(listing: Listing) -> list[str]:
    """Names of the classes of which a split has no image."""
    counts = np.bincount(listing.labels, minlength=len(listing.class_names))
    return [name for name, count in zip(listing.class_names, counts, strict=True) if count == 0]


def check_names(names: tuple[str, ...], place: str) -> None:
    """DataError unless all class names at `place` are two or more plain lines of text."""
    if len(names) < 2:
        raise DataError(
            f"{place} has {len(names)} class{'es' * (len(names) != 1)}; two are the least.",
            "give images of two classes or more",
        )
    if bad := [name for name in names if not _is_plain(name)]:
        raise DataError(
            f"Class names in {place} that are no plain text in UTF-8 of up to {MAX_NAME} "
            f"characters: {name_some([name[:MAX_NAME] for name in bad])}.",
            "rename these classes",
        )


def check_known(found: str, names: set[str], known: tuple[str, ...], train: str) -> None:
    """DataMismatch where the split at `found` has classes that the training images lack."""
    if unknown := sorted(names - set(known)):
        raise DataMismatch(
            f"{found} has classes that {train} has not: {name_some(unknown)}.",
            "give both splits the same classes",
        )


def set_name(found: str) -> str:
    """The name of a file or folder as the name of a set: text that every file can hold."""
    return found.encode("utf-8", "replace").decode()


def _is_plain(name: str) -> bool:
    return 0 < len(name) <= MAX_NAME and not any(map(is_control, name))
