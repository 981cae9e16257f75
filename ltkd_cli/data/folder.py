"""An image folder: PATH/train/CLASS/... and PATH/test/CLASS/... or PATH/val/CLASS/..."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import NoReturn

import numpy as np

from ..errors import DataError, DataMismatch
from .decoded import Progress
from .filedata import data_of_listings
from .files import Listing, name_some
from .imageset import Data, DataSpec

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tif", ".tiff"),
)
"""Endings of image files, in capitals or not."""

TEST_FOLDERS = ("test", "val")
"""Where test images may lie, the first that exists."""


def load_folder(spec: DataSpec, progress: Progress | None = None) -> Data:
    """The data of an image folder; classes are its folders' names in alphabetical order.

    Images in folders below a class folder belong to the class; what starts with a dot does
    not count. DataError where something is missing, DataMismatch where test has other classes.
    """
    folder = Path(spec.data).expanduser()
    class_names = _class_names(_train_folder(folder))
    test_split = _test_split(folder)
    _check_known(folder / test_split, class_names)
    train = _listing(folder, "train", class_names)
    _check_filled(train)
    test = _listing(folder, test_split, class_names)
    return data_of_listings(spec, train, test, progress)


def _train_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise DataError(f"There is no image folder {folder}.", "--data PATH/TO/AN/IMAGE/FOLDER")
    train = folder / "train"
    if train.is_dir():
        return train
    if folder.name == "train":
        raise DataError(
            f"{folder} holds training images only; the folder above it is needed.",
            f"--data {folder.parent}",
        )
    raise DataError(
        f"The image folder {folder} has no folder train.",
        f"arrange the images as {folder}/train/CLASS/IMAGE and {folder}/test/CLASS/IMAGE",
    )


def _test_split(folder: Path) -> str:
    for name in TEST_FOLDERS:
        if (folder / name).is_dir():
            return name
    raise DataError(
        f"The image folder {folder} has neither a folder test nor a folder val.",
        f"put held-out images of every class into {folder}/test/CLASS",
    )


def _class_names(train: Path) -> tuple[str, ...]:
    names = _visible_folders(train)
    if len(names) < 2:
        raise DataError(
            f"{train} must hold a folder for each of two classes or more, and holds {len(names)}.",
            f"arrange the images as {train}/CLASS/IMAGE",
        )
    return names


def _listing(folder: Path, split: str, class_names: tuple[str, ...]) -> Listing:
    root = folder / split
    of_class = [_image_keys(root, name) for name in class_names]
    keys = tuple(itertools.chain.from_iterable(of_class))
    if not keys:
        raise DataError(
            f"There are no images in the class folders of {root}.",
            f"images end in one of {' '.join(EXTENSIONS)}",
        )
    labels = np.repeat(
        np.arange(len(class_names), dtype=np.int64), [len(found) for found in of_class]
    )
    return Listing(folder.resolve().name, split, str(root), keys, labels, class_names)


def _check_known(root: Path, class_names: tuple[str, ...]) -> None:
    known = set(class_names)
    unknown = [name for name in _visible_folders(root) if name not in known]
    if unknown:
        raise DataMismatch(
            f"{root} has classes that {root.parent / 'train'} has not: {name_some(unknown)}.",
            "give both splits the same class folders",
        )


def _check_filled(train: Listing) -> None:
    counts = np.bincount(train.labels, minlength=len(train.class_names))
    empty = [name for name, count in zip(train.class_names, counts, strict=True) if count == 0]
    if empty:
        raise DataError(
            f"Class folders without an image in {train.root}: {name_some(empty)}.",
            f"remove them or fill them; images end in one of {' '.join(EXTENSIONS)}",
        )


def _image_keys(root: Path, class_name: str) -> list[str]:
    """Keys of the images below one class folder, in alphabetical order."""
    if not (root / class_name).is_dir():
        return []  # a class without test images
    top = str(root)
    keys = []
    for folder, folders, files in os.walk(root / class_name, onerror=_refuse, followlinks=True):
        folders[:] = [
            name for name in folders if not (name.startswith(".") or _leads_back(folder, name))
        ]
        below = folder[len(top) + 1 :].replace(os.sep, "/")
        keys += [f"{below}/{name}" for name in files if _is_image(name)]
    return sorted(keys)


def _leads_back(folder: str, name: str) -> bool:
    """Whether a link leads to a folder that it lies in, whose images would be found again."""
    link = Path(folder, name)
    return link.is_symlink() and Path(folder).resolve().is_relative_to(link.resolve())


def _is_image(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def _visible_folders(parent: Path) -> tuple[str, ...]:
    try:
        with os.scandir(parent) as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
    except OSError as error:
        _refuse(error)
    return tuple(sorted(name for name in names if not name.startswith(".")))


def _refuse(error: OSError) -> NoReturn:
    raise DataError(
        f"The folder {error.filename} cannot be read: {error.strerror}.",
        f"ls -l {error.filename}",
    ) from error
