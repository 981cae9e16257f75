"""What the bytes of the images tell: the same image twice, in two classes or in two splits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .contents import Contents
from .failures import name_some
from .files import Listing
from .imageset import ImageSet

SHOWN_PLACES = 4
"""Copies of an image that a message names."""

TRAIN, TEST = 0, 1
"""Numbers of the first two splits."""


@dataclass(frozen=True)
class Marked:
    """The images of one split with what tells whether two of them are the same."""

    listing: Listing
    contents: Contents

    def label(self, row: int) -> int:
        """The class of an image."""
        return int(self.listing.labels[row])

    def name(self, row: int) -> str:
        """What messages call an image."""
        return f"{self.listing.split}/{self.listing.keys[row]}"


def mark(images: ImageSet) -> Marked:
    """The images of a set that came as an array; each is called by its row."""
    keys = tuple(map(str, range(len(images.labels))))
    labels = images.labels.numpy()
    listing = Listing(images.name, images.split, "", keys, labels, images.class_names)
    return Marked(listing, images.images.hashes())


@dataclass(frozen=True)
class Same:
    """Images that are the same byte for byte, each as the number of its split and its row."""

    places: tuple[tuple[int, int], ...]

    def splits(self) -> set[int]:
        """Numbers of the splits that they lie in."""
        return {split for split, _ in self.places}

    def labels(self, splits: Sequence[Marked]) -> set[int]:
        """Classes that they are given."""
        return {splits[split].label(row) for split, row in self.places}

    def in_words(self, splits: Sequence[Marked]) -> str:
        """`train/cat/1.png (cat) = test/dog/7.png (dog)`, with the first few of them."""
        shown = self.places[:SHOWN_PLACES]
        words = " = ".join(_in_words(splits[split], row) for split, row in shown)
        return f"{words} = ..." if len(self.places) > SHOWN_PLACES else words


def same_images(splits: Sequence[Marked]) -> list[Same]:
    """Every set of two or more images of all splits that are the same, in order of appearance."""
    marks = np.concatenate([split.contents for split in splits])
    split_of = np.repeat(np.arange(len(splits)), [len(split.contents) for split in splits])
    row_of = np.concatenate([np.arange(len(split.contents)) for split in splits])
    found = [
        Same(tuple(zip(split_of[rows].tolist(), row_of[rows].tolist(), strict=True)))
        for rows in _equal_rows(marks)
    ]
    return sorted(found, key=lambda same: same.places)


def warnings_of(name: str, splits: Sequence[Marked]) -> Iterator[str]:
    """Sentences about training images that are tested on, and about images with two labels.

    `splits` are the training set, the test set, and the validation set if there is one.
    """
    same = same_images(splits)
    leaked = sorted(
        row
        for each in same
        if TRAIN in each.splits()
        for split, row in each.places
        if split == TEST
    )
    tested = len(splits[TEST].contents)
    if leaked and len(leaked) == tested:
        yield f"All {tested:,} test images of {name} are training images as well, byte for byte."
    elif leaked:
        examples = name_some([splits[TEST].name(row) for row in leaked])
        yield (
            f"Test images of {name} that are training images as well, byte for byte: "
            f"{len(leaked):,} of {tested:,} ({examples})."
        )
    if torn := [each for each in same if len(each.labels(splits)) > 1]:
        examples = name_some([each.in_words(splits) for each in torn])
        yield f"Images of {name} that are in two classes at once: {len(torn):,} ({examples})."


def _equal_rows(marks: Contents) -> Iterator[NDArray[np.int64]]:
    """Rows of each SHA-256 in [N, 32] that occurs more than once, in order.

    Compared by their first 64 bits: among a million images, two that differ agree in these with
    a probability of 3e-8.
    """
    short = np.ascontiguousarray(marks[:, :8]).view("<u8")[:, 0]
    order = np.argsort(short, kind="stable")
    ordered = short[order]
    bounds = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1], True])
    return (order[begin:end] for begin, end in pairwise(bounds.tolist()) if end - begin > 1)


def _in_words(split: Marked, row: int) -> str:
    return f"{split.name(row)} ({split.listing.class_names[split.label(row)]})"
