"""Which images a command is about: those of a run or cache, where they lie now, or others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import distributed
from ..data import Data, DataSpec, check, find, has_files, load
from ..data.decoded import Progress
from ..data.filedata import data_of_splits, training_listing
from ..errors import LtkdError
from ..events import Event, Warned
from .checks import how_kept
from .settings import PATHS, moved, with_images

CheckNames = Callable[[Sequence[str], str], Iterable[Event]]
"""Checks the names of the classes of an image set of that name."""


def chosen(spec: DataSpec, known: Mapping[str, Any], given: dict[str, Any]) -> DataSpec:
    """The images of a run or cache with the `given` fields in place of those of its `spec`.

    `known` are its `class_names` and `class_counts`. Images in another place whose training set
    has these are taken to be the same, and keep the other fields; others bring their own
    defaults along. What they are is checked where they are used.
    """
    asked = with_images(spec, given)
    if asked.data == spec.data:
        return asked
    place = {name: value for name, value in given.items() if name in PATHS}
    rest = {name: value for name, value in given.items() if name not in PATHS}
    there = moved(spec, place)
    same = _has(there, known["class_names"], known["class_counts"])
    return dataclasses.replace(there, **rest) if same else asked


def load_checked(
    spec: DataSpec, progress: Progress | None, check_names: CheckNames
) -> Generator[Event, None, Data]:
    """The images that `spec` describes, with their classes checked as soon as they are known.

    `check_names` hears the names of the classes and of the set: where that consists of files,
    before any of them is read.
    """
    check(spec)
    splits = find(spec) if has_files(spec) else None
    if splits:
        yield from check_names(splits.train.class_names, splits.train.name)
    with distributed.first_alone():  # which decodes what is not decoded yet
        data = data_of_splits(splits, progress) if splits else load(spec, progress)
    yield from how_kept(data)
    yield from map(Warned, data.warnings)
    if not splits:
        yield from check_names(data.train.class_names, data.name)
    return data


def _has(spec: DataSpec, names: Sequence[str], counts: Sequence[int]) -> bool:
    """Whether the training images that `spec` describes are so many of these classes."""
    try:
        if has_files(spec):
            listing = training_listing(find(spec))
            found = listing.class_names, np.bincount(listing.labels, minlength=len(names)).tolist()
        else:
            train = load(spec).train
            found = train.class_names, train.class_counts()
    except LtkdError:
        return False
    return (list(found[0]), found[1]) == (list(names), list(counts))
