"""Text lists of images, one `path label` a line, as ImageNet-LT and Places-LT publish them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, look_at, shortened, to_utf8
from ..files import expanded
from .failures import name_some
from .files import Listing
from .imageset import DataSpec
from .splits import ONE_LABEL, Splits, check_known, set_name

TEST_WORDS = ("test", "val")
"""What takes the place of `train` in the name of the test list, in order of preference."""

LARGEST_LABEL = 1_000_000
"""A larger class number is a slip: every class up to it needs images."""

Entries = tuple[tuple[str, ...], NDArray[np.int64]]
"""Keys and labels of the images in a list."""


def find_lists(spec: DataSpec) -> Splits:
    """The splits of a train list and its test list; classes are named by their numbers.

    DataError where a list is missing or a line cannot be read, DataMismatch where the test
    list has classes that the train list has not.
    """
    train_list = expanded(spec.data)
    test_list = expanded(spec.test_list) if spec.test_list else list_beside(train_list)
    val_list = validation_beside(train_list, test_list)
    train = read_list(train_list)
    class_names = _class_names(train[1], train_list)
    name = name_of(train_list)

    def listing(path: Path, split: str) -> Listing:
        keys, labels = read_list(path)
        check_known(str(path), {*map(str, labels.tolist())}, class_names, str(train_list))
        return Listing(name, split, root_of(spec, path), keys, labels, class_names)

    return Splits(
        replace(spec, root=common_root(spec, train_list, test_list), test_list=str(test_list)),
        Listing(name, "train", root_of(spec, train_list), *train, class_names),
        listing(test_list, split_named(test_list)),
        listing(val_list, "val") if val_list else None,
    )


def root_of(spec: DataSpec, listed_in: Path) -> str:
    """The folder that the paths in a file start from: `--data-root`, or the file's own."""
    return str(expanded(spec.root) if spec.root else listed_in.parent)


def common_root(spec: DataSpec, train: Path, test: Path) -> str | None:
    """The folder that the paths in both files start from; None where each has its own."""
    roots = {root_of(spec, train), root_of(spec, test)}
    return roots.pop() if len(roots) == 1 else None


def read_list(path: Path) -> Entries:
    """Keys and labels of a list; DataError with file and line where it does not fit."""
    keys, labels, label_of = [], [], dict[str, int]()
    for number, line in read_lines(path):
        key, label = _entry(line, f"{path}:{number}")
        if label_of.setdefault(key, label) != label:
            raise DataError(
                f"{path}:{number} gives {shortened(key)!r} the label {label}, and an earlier line "
                f"{label_of[key]}.",
                ONE_LABEL,
            )
        keys.append(key)
        labels.append(label)
    if not keys:
        raise DataError(f"The list {path} names no images.", "each line is: PATH LABEL")
    return tuple(keys), np.array(labels, dtype=np.int64)


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of every line that is not empty; DataError where `path` is no text file."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield number, line


def read_text(path: Path) -> str:
    """The text of a file in UTF-8; DataError where it is none."""
    check_file(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(
            f"The list {path} cannot be read: {error.strerror}.", look_at(path)
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"The list {path} cannot be read: byte {error.start:,} is not UTF-8. "
            "It may be Latin-1.",
            to_utf8(path),
        ) from error


def check_file(path: Path) -> None:
    """DataError where a path leads to no regular file."""
    if path.is_file():
        return
    if path.exists():
        raise DataError(f"{path} cannot be read: it is no regular file.", look_at(path))
    raise DataError(f"The list {path} cannot be read: there is no such file.", look_at(path.parent))


def list_beside(train: Path) -> Path:
    """The file beside a train list or manifest whose name says test, or else val."""
    tried = [train.with_name(train.name.replace("train", word)) for word in TEST_WORDS]
    found = [path for path in tried if path != train and path.is_file()]
    if found:
        return found[0]
    if not train.is_file():
        raise DataError(f"There is no list {train}.", "--data PATH/TO/train.txt")
    names = " or ".join(path.name for path in tried if path != train)
    raise DataError(
        f"No test list {names} lies beside {train}."
        if names
        else f"The name of {train} does not say train, so its test list is unknown.",
        f"--test-list PATH/TO/test{train.suffix}",
    )


def validation_beside(train: Path, test: Path) -> Path | None:
    """The file beside a train list or manifest whose name says val, if it is not the test list."""
    path = train.with_name(train.name.replace("train", "val"))
    taken = path in (train, test) or split_named(test) == "val"
    return path if path.is_file() and not taken else None


def split_named(test_list: Path) -> str:
    """`val` where the name of a test list says so, else `test`."""
    return "val" if "val" in test_list.stem and "test" not in test_list.stem else "test"


def name_of(train_list: Path) -> str:
    """`ImageNet_LT` for ImageNet_LT_train.txt; the folder's name for train.txt."""
    left = train_list.stem.replace("train", "").strip(" ._-")
    return set_name(left or train_list.resolve().parent.name)


def _entry(line: str, place: str) -> tuple[str, int]:
    key, label = [*line.rsplit(maxsplit=1), ""][:2]
    if not (label.isascii() and label.isdigit()):
        raise DataError(
            f"{place} is not an image path followed by a class number: {shortened(line)!r}.",
            "each line is: PATH LABEL, with labels from 0",
        )
    digits = label.lstrip("0") or "0"
    if len(digits) > len(str(LARGEST_LABEL)) or int(digits) > LARGEST_LABEL:
        raise DataError(
            f"{place} has class number {shortened(label)}; they go up to {LARGEST_LABEL:,}.",
            "number the classes from 0 without gaps",
        )
    if "\0" in key:
        raise DataError(f"{place} names a file with a zero byte: {shortened(line)}.", "correct it")
    return key.strip(), int(digits)


def _class_names(labels: NDArray[np.int64], train_list: Path) -> tuple[str, ...]:
    counts = np.bincount(labels)
    absent = [str(label) for label in np.where(counts == 0)[0]]
    if absent:
        raise DataError(
            f"{train_list} has no image of class {name_some(absent)}, and its largest class "
            f"is {len(counts) - 1}.",
            "number the classes from 0 without gaps",
        )
    if len(counts) < 2:
        raise DataError(f"{train_list} has one class only.", "list images of two classes or more")
    return tuple(str(label) for label in range(len(counts)))
