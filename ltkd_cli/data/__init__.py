"""Image sets: what to train and test on, whatever form it comes in."""

from __future__ import annotations

import difflib
from pathlib import Path

from ..errors import DataError, UsageError
from .cifar import SETS, load_cifar
from .contents import Progress
from .digits import NAME, load_digits
from .filedata import data_of_splits
from .folder import find_folder
from .imageset import Data, DataSpec, Images, ImageSet
from .lists import find_lists

__all__ = ["BUILT_IN", "Data", "DataSpec", "ImageSet", "Images", "load"]

BUILT_IN = (NAME, *SETS)
"""Names of the sets that need no folder."""

LARGEST_SIZE = 4096
"""Pixels along a side; beyond it, one batch fills the memory of most machines."""

GROUP_RULES = ("auto", "counts", "rank")
"""How classes may be put into head, medium and tail."""


def load(spec: DataSpec, progress: Progress | None = None) -> Data:
    """The training and test images that `spec` describes.

    `progress` is called with (images decoded, images to decode) while files are decoded,
    which happens at the first start only. UsageError for values that do not fit, DataError
    for images that cannot be used, DataMismatch where training and test disagree.
    """
    _check(spec)
    if spec.data == NAME:
        return load_digits(spec)
    if spec.data in SETS:
        return load_cifar(spec)
    if _is_list(spec.data):
        return data_of_splits(find_lists(spec), progress)
    if not Path(spec.data).expanduser().exists():
        raise _unknown(spec.data)
    return data_of_splits(find_folder(spec), progress)


def _is_list(data: str) -> bool:
    return data.lower().endswith(".txt") and not Path(data).expanduser().is_dir()


def _check(spec: DataSpec) -> None:
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
    if spec.validation < 0:
        raise UsageError(
            f"--validation takes a number of images of each class, not {spec.validation}.",
            "--validation 20",
        )
    if spec.root and spec.data not in SETS and not _is_list(spec.data):
        raise UsageError(
            f"--data-root is for CIFAR and for lists, and {spec.data} is neither.",
            f"--data {spec.data}, without --data-root",
        )
    if spec.test_list and not _is_list(spec.data):
        raise UsageError(
            f"A test list belongs to a train list, and {spec.data} is none.",
            "--data PATH/TO/train.txt --test-list PATH/TO/test.txt",
        )


def _unknown(data: str) -> DataError:
    near = difflib.get_close_matches(data, BUILT_IN, n=1)
    return DataError(
        f"There is no data set, image folder or list {data!r}.",
        f"--data {near[0] if near else BUILT_IN[0]} (built in: {', '.join(BUILT_IN)}), "
        "or the path of an image folder",
    )
