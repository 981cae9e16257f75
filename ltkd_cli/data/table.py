"""Image sets as a table, a path and a label for each image: what manifests and JSON have in common.

A reader turns its file into a `Table` (paths and labels as text); from here on all are alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import DataError, look_at, shortened
from ..files import expanded
from .failures import name_some
from .files import Listing
from .imageset import DataSpec
from .lists import (
    check_file,
    common_root,
    list_beside,
    name_of,
    root_of,
    split_named,
    validation_beside,
)
from .splits import MAX_NAME, ONE_LABEL, Splits, check_known, check_names, split_of

NEGATIVE = re.compile(r"-\d+")
"""What some files write for want of a label."""

LISTED = re.compile(r"""\[.*[,'"].*\]|\{.*[,'"].*\}""")
"""A list or set as Python and JSON write it."""

SEPARATORS = ("|", ";", ",", " ")
"""What parts several labels in one field; spaces come last, since they are in names as well."""


@dataclass(frozen=True)
class Table:
    """Images and their labels as a file has them, in its order."""

    path: Path
    images: list[str]
    """Path of every image."""
    labels: list[str]
    """Name of every image's class."""
    splits: list[str] | None = None
    """What the file calls the split of every image, where it says so."""
    classes: tuple[str, ...] | None = None
    """The classes in their order, where the file has one."""
    lines: list[int] | None = None
    """Line of every image in a text file; None where rows have no lines."""
    warnings: tuple[str, ...] = ()

    def place(self, row: int) -> str:
        """Where a row stands, for messages."""
        return f"{self.path}:{self.lines[row]}" if self.lines else f"{self.path}, row {row}"

    def only(self, rows: Sequence[int]) -> Table:
        """The table of some rows."""
        return replace(
            self,
            images=[self.images[row] for row in rows],
            labels=[self.labels[row] for row in rows],
            splits=None,
            lines=[self.lines[row] for row in rows] if self.lines else None,
        )


Read = Callable[[Path], Table]
"""Reads the table in a file; DataError where it cannot."""


def find_table(spec: DataSpec, read: Read) -> Splits:
    """The splits of a table: by its split column, or with the test table that belongs to it.

    Classes come in the order of the file if it has one, else in that of their numbers or
    alphabetical. DataError where something is missing or odd, DataMismatch where the test
    images have other classes.
    """
    path = expanded(spec.data)
    check_file(path)
    table = read(path)
    check_table(table)
    parts, test_path = _parts(spec, table, read)
    class_names = class_names_of(parts["train"])
    listings = {
        split: listing_of(name_of(path), split, root_of(spec, part.path), part, class_names, path)
        for split, part in parts.items()
    }
    test = listings.get("test") or listings["val"]
    root = common_root(spec, path, test_path or path)
    return Splits(
        replace(spec, root=root, test_list=None if test_path is None else str(test_path)),
        listings["train"],
        test,
        listings.get("val") if "test" in listings else None,
        (*table.warnings, *unused_classes(parts["train"], class_names)),
    )


def _parts(spec: DataSpec, table: Table, read: Read) -> tuple[dict[str, Table], Path | None]:
    """The table of every split, and the path of the test table where that is a file of its own.

    A test table that is given takes the place of test images in the first.
    """
    parts = _by_split(table)
    if "train" not in parts:
        raise DataError(
            f"{table.path} has no image of the split train.", "call its training images train"
        )
    if spec.test_list is None and len(parts) > 1:
        return parts, None
    path = expanded(spec.test_list) if spec.test_list else list_beside(table.path)
    check_file(path)
    found = read(path)
    check_table(found)
    parts.pop("test", None)
    beside = validation_beside(table.path, path)
    if beside and "val" not in parts:
        held = read(beside)
        check_table(held)
        parts["val"] = _test_part(held)
    return {**parts, split_named(path): _test_part(found)}, path


def _test_part(table: Table) -> Table:
    """The test images of a table of their own, which may have a split column as well."""
    parts = _by_split(table)
    if table.splits is None:
        return table
    part = parts.get("test") or parts.get("val")
    if part is None:
        raise DataError(
            f"{table.path} has no image of the split test or val.", "call its images test"
        )
    return part


def _by_split(table: Table) -> dict[str, Table]:
    """The rows of every split; a table without a split column is all of `train`."""
    if table.splits is None:
        return {"train": table}
    split = [split_of(name) for name in table.splits]
    if None in split:
        row = split.index(None)
        raise DataError(
            f"{table.place(row)} has the split {shortened(table.splits[row])!r}, which is none of "
            "train, val and test.",
            "call the splits train, val and test",
        )
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(split):
        rows.setdefault(name or "", []).append(row)
    return {name: table.only(own) for name, own in rows.items()}


def check_table(table: Table) -> None:
    """DataError where a row is no image with one label."""
    if not table.images:
        raise DataError(f"{table.path} names no images.", look_at(table.path))
    known, declared = set(table.labels), set(table.classes or ())
    label_of: dict[tuple[str, str], int] = {}
    for row, (image, label) in enumerate(zip(table.images, table.labels, strict=True)):
        if not image.strip() or "\0" in image:
            raise DataError(
                f"{table.place(row)} has no image path, but {shortened(image)!r}.",
                "correct that row",
            )
        if not label.strip() or len(label) > MAX_NAME or NEGATIVE.fullmatch(label):
            raise DataError(
                f"{table.place(row)} has no label, but {shortened(label)!r}.",
                f"labels are names of up to {MAX_NAME} characters, or numbers from 0",
            )
        if label not in declared and _is_several(label, known):
            name = "; if it is the name of one class, write _ between its words"
            by_spaces = not (LISTED.fullmatch(label) or {*label} & {*SEPARATORS[:-1]})
            raise DataError(
                f"{table.place(row)} has more than one label: {shortened(label)!r}.",
                ONE_LABEL + (name if by_spaces else ""),
            )
        split = table.splits[row] if table.splits else ""
        before = label_of.setdefault((image, split), row)
        if table.labels[before] != label:
            raise DataError(
                f"{table.place(row)} gives {shortened(image)} the label {shortened(label)!r}, and "
                f"{table.place(before)} {shortened(table.labels[before])!r}.",
                ONE_LABEL,
            )


def _is_several(label: str, known: set[str]) -> bool:
    """Whether a label is written as a list, or is made of labels that others have."""
    if LISTED.fullmatch(label):
        return True
    parts = next((label.split(mark.strip() or None) for mark in SEPARATORS if mark in label), [])
    return len(parts) > 1 and all(part.strip() in known for part in parts)


def class_names_of(train: Table) -> tuple[str, ...]:
    """The classes that have training images, in their order; DataError where one is no name."""
    found = set(train.labels)
    if train.classes is not None:
        names = tuple(name for name in train.classes if name in found)
    elif all(label.isascii() and label.isdigit() for label in found):
        names = tuple(sorted(found, key=lambda label: (int(label), label)))
    else:
        names = tuple(sorted(found))
    check_names(names, str(train.path))
    return names


def unused_classes(train: Table, class_names: tuple[str, ...]) -> Iterable[str]:
    """A warning where the file has classes without training images."""
    known = set(class_names)
    unused = [name for name in train.classes or () if name not in known]
    if unused:
        yield (
            f"Classes of {train.path} without a training image, which are left out: "
            f"{name_some(unused)}."
        )


def listing_of(
    name: str, split: str, root: str, table: Table, class_names: tuple[str, ...], train: Path
) -> Listing:
    """The listing of one split; DataMismatch where it has classes that the training set lacks."""
    check_known(f"The split {split} in {table.path}", {*table.labels}, class_names, str(train))
    index = {class_name: label for label, class_name in enumerate(class_names)}
    labels = np.array([index[label] for label in table.labels], dtype=np.int64)
    return Listing(name, split, root, tuple(table.images), labels, class_names)
