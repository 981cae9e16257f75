"""Image sets: what to train and test on, whatever form it comes in."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from shlex import quote

from ..errors import DataError, UsageError, printable
from ..files import expanded, without_parents
from . import longtail
from .cifar import SETS, load_cifar
from .coco import read_json
from .contents import Progress
from .decode import short_side
from .decoded import STORES
from .digits import NAME, load_digits
from .failures import is_control
from .filedata import PHOTOGRAPH_SIZE, data_of_splits
from .folder import find_folder
from .huggingface import PREFIX, find_dataset, is_dataset
from .imageset import Data, DataSpec, Images, ImageSet
from .lists import find_lists
from .manifest import read_manifest
from .npz import load_npz
from .parquet import read_parquet
from .splits import Splits
from .table import find_table

__all__ = [
    "BUILT_IN",
    "Data",
    "DataSpec",
    "ImageSet",
    "Images",
    "absolute",
    "check",
    "find",
    "has_files",
    "load",
]

BUILT_IN = (NAME, *SETS)
"""Names of the sets that need no folder."""

LARGEST_SIZE = 4096
"""Pixels along a side; beyond it, one batch fills the memory of most machines."""

MOST_HELD_OUT = 10_000_000
"""Images of each class that may be asked for as validation images."""

GROUP_RULES = ("auto", "counts", "rank")
"""How classes may be put into head, medium and tail."""

LISTS: dict[str, Callable[[DataSpec], Splits]] = {
    ".txt": find_lists,
    ".csv": partial(find_table, read=read_manifest),
    ".tsv": partial(find_table, read=read_manifest),
    ".parquet": partial(find_table, read=read_parquet),
    ".json": partial(find_table, read=read_json),
}
"""Readers of files that name images, by their ending."""


def load(spec: DataSpec, progress: Progress | None = None) -> Data:
    """The training and test images that `spec` describes.

    `progress` is called with (images done, images to do) while files are read and decoded,
    which happens at the first start only. UsageError for values that do not fit, DataError
    for images that cannot be used, DataMismatch where training and test disagree.
    """
    check(spec)
    if spec.data == NAME:
        return load_digits(spec)
    if spec.data in SETS:
        return load_cifar(spec)
    if _ending(spec.data) == ".npz":
        return load_npz(spec)
    return data_of_splits(find(spec), progress)


def find(spec: DataSpec) -> Splits:
    """The splits of an image set that consists of image files, before any of them is read."""
    if ending := _ending(spec.data):
        return LISTS[ending](spec)
    folder = expanded(spec.data)
    if spec.data.startswith(PREFIX) or is_dataset(folder):
        return find_dataset(spec)
    if not folder.exists():
        raise _unknown(spec.data)
    return find_folder(spec)


def absolute(data: str) -> str:
    """The same image set by a path that holds in every folder; what is no path stays as it is."""
    prefix = PREFIX if data.startswith(PREFIX) else ""
    path = expanded(data.removeprefix(prefix))
    if data in BUILT_IN or not path.exists():
        return data
    return f"{prefix}{without_parents(path)}"


def has_files(spec: DataSpec) -> bool:
    """Whether an image set consists of image files, so that `find` finds its splits."""
    return spec.data not in BUILT_IN and _ending(spec.data) != ".npz"


def check(spec: DataSpec) -> None:
    """UsageError where a value does not fit, before any file is looked for."""
    if spec.groups not in GROUP_RULES:
        raise UsageError(
            f"Groups are formed by {', '.join(GROUP_RULES)}, not by {spec.groups!r}.",
            "--groups auto",
        )
    if spec.image_size is not None and not 1 <= spec.image_size <= LARGEST_SIZE:
        raise UsageError(
            f"The image size is a number of pixels up to {LARGEST_SIZE:,}, not {spec.image_size}.",
            "--image-size 32",
        )
    imbalance = 1.0 if spec.imbalance is None else spec.imbalance
    longtail.check(imbalance, spec.imbalance_type, spec.imbalance_seed)
    smallest = spec.image_size or 1
    if spec.short_side is not None and not smallest <= spec.short_side <= LARGEST_SIZE:
        raise UsageError(
            f"The short side is a number of pixels from {smallest:,}, the image size, up to "
            f"{LARGEST_SIZE:,}, not {spec.short_side}.",
            f"--short-side {min(LARGEST_SIZE, short_side(spec.image_size or PHOTOGRAPH_SIZE))}",
        )
    if spec.store not in STORES:
        raise UsageError(
            f"Decoded images are stored {', '.join(STORES)}, not {spec.store!r}.", "--store auto"
        )
    if not 0 <= spec.validation <= MOST_HELD_OUT:
        raise UsageError(
            f"--validation takes a number of images of each class, not {spec.validation}.",
            "--validation 20",
        )
    for path in filter(None, (spec.data, spec.root, spec.test_list)):
        if any(map(is_control, path)):
            raise UsageError(
                f"The path {printable(path)} is not plain text in UTF-8, so that neither runs nor "
                "caches could name it.",
                "rename it, or give a link to it",
            )
    listed = _ending(spec.data) in LISTS
    if spec.root and spec.data not in SETS and not listed:
        raise UsageError(
            f"--data-root is for CIFAR and for lists, and {spec.data} is neither.",
            f"--data {quote(spec.data)}  # without --data-root",
        )
    if spec.download and spec.data not in SETS:
        raise UsageError(
            f"--download is for CIFAR, and {spec.data} is none.",
            f"--data {quote(spec.data)}  # without --download",
        )
    if not has_files(spec):
        _refuse_options_of_files(spec)
    if spec.test_list and not listed:
        raise UsageError(
            f"A test list belongs to a train list, and {spec.data} is none.",
            "--data PATH/TO/train.txt --test-list PATH/TO/test.txt",
        )


def _refuse_options_of_files(spec: DataSpec) -> None:
    """UsageError where a set without image files is told how to decode or keep them."""
    given = {"--short-side": spec.short_side is not None, "--store": spec.store != "auto"}
    for option in (name for name, is_given in given.items() if is_given):
        raise UsageError(
            f"{option} is for image files, and {spec.data} has none.",
            f"--data {quote(spec.data)}  # without {option}",
        )


def _ending(data: str) -> str | None:
    """The ending of a file that is an image set; None where the set is no such file."""
    ending = Path(data).suffix.lower()
    known = ending in LISTS or ending == ".npz"
    return ending if known and not expanded(data).is_dir() else None


def _unknown(data: str) -> DataError:
    near = difflib.get_close_matches(data, BUILT_IN, n=1)
    hint = (
        f"--data {near[0] if near else BUILT_IN[0]} (built in: {', '.join(BUILT_IN)}), "
        "or the path of an image folder"
    )
    if Path(data).is_absolute():  # as runs and caches record it
        hint = "--data with the place where the images lie now, if they have moved"
    return DataError(f"There is no data set, image folder or list {data!r}.", hint)
