"""An image folder: PATH/train/CLASS/... and PATH/test/CLASS/... or PATH/val/CLASS/..."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import NoReturn

import numpy as np

from ..errors import DataError, look_at
from ..files import expanded
from . import tiny_imagenet
from .failures import name_some
from .files import Listing
from .imageset import DataSpec
from .splits import Splits, check_known, check_names, set_name

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tif", ".tiff"),
)
"""Endings of image files, in capitals or not."""

NO_IMAGES = (
    *(".txt", ".md", ".csv", ".tsv", ".json", ".xml", ".html", ".log", ".ini", ".db"),
    *(".yaml", ".yml", ".py", ".sh", ".sha256", ".md5"),
)
"""Endings of files that lie beside images and are missed by nobody."""

TEST_FOLDERS = ("test", "val")
"""Where test images may lie, the first that exists and has classes."""

OUTSIDE = "outside"
"""Stands for images outside of class folders where others are counted by their ending."""

LEVEL = "images"
"""A folder that some data sets put between a split and its classes, or below each class."""


def find_folder(spec: DataSpec) -> Splits:
    """The splits of an image folder; classes are its folders' names in alphabetical order.

    Images in folders below a class folder belong to the class; what starts with a dot does
    not count. DataError where something is missing, DataMismatch where test has other classes.
    """
    folder = expanded(spec.data)
    top = _below_level(_train_folder(folder))
    class_names = _class_names(top)
    train, ignored = _listing(folder, top, "train", class_names)
    test, more_ignored = _test_listing(folder, class_names, TEST_FOLDERS)
    validation = None
    if test.split == "test" and _is_labelled(folder / "val", class_names):
        validation, still_more = _test_listing(folder, class_names, ("val",))
        more_ignored += still_more
    return Splits(
        spec,
        train,
        test,
        validation,
        warnings=_said_of_ignored(folder, ignored + more_ignored),
        filling=f"remove them or fill them; images end in one of {' '.join(EXTENSIONS)}",
    )


def _train_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise DataError(f"There is no image folder {folder}.", "--data PATH/TO/AN/IMAGE/FOLDER")
    train = folder / "train"
    if train.is_dir():
        return train
    if folder.name == "train":
        raise DataError(
            f"{folder} holds training images only; the folder above it is needed.",
            f"--data {quote(str(folder.parent))}",
        )
    raise DataError(
        f"The image folder {folder} has no folder train.",
        f"arrange the images as {folder}/train/CLASS/IMAGE and {folder}/test/CLASS/IMAGE",
    )


def _test_listing(
    folder: Path, class_names: tuple[str, ...], names: Sequence[str]
) -> tuple[Listing, Counter[str]]:
    """The listing of the first of some folders that says the classes of its images."""
    unlabelled = []
    for name in names:
        top = folder / name
        if not top.is_dir():
            continue
        if not _is_labelled(top, class_names):
            unlabelled.append(str(_below_empty_level(top)))
            continue
        if tiny_imagenet.is_annotated(top):
            keys, labels = tiny_imagenet.annotated(top, class_names)
            return Listing(
                set_name(folder.resolve().name), name, str(top), keys, labels, class_names
            ), Counter()
        top = _below_level(top)
        check_known(str(top), {*_visible_folders(top)}, class_names, str(folder / "train"))
        return _listing(folder, top, name, class_names)
    raise _without_test(folder, unlabelled)


def _is_labelled(top: Path, class_names: tuple[str, ...]) -> bool:
    """Whether a folder says the classes of its images, by folders or by annotations."""
    if not top.is_dir():
        return False
    folders = _visible_folders(_below_level(top))
    if folders == (LEVEL,) and LEVEL not in class_names:
        folders = ()
    return bool(folders) or tiny_imagenet.is_annotated(top)


def _below_empty_level(top: Path) -> Path:
    """Where the images of a folder without classes lie."""
    return top / LEVEL if _visible_folders(top) == (LEVEL,) else top


def _without_test(folder: Path, unlabelled: Sequence[str]) -> DataError:
    if unlabelled:
        return DataError(
            f"The images in {name_some(unlabelled)} have no classes, so nothing can be tested "
            "on them.",
            f"put held-out images of every class into {folder}/test/CLASS",
        )
    return DataError(
        f"The image folder {folder} has neither a folder test nor a folder val.",
        f"put held-out images of every class into {folder}/test/CLASS",
    )


def _below_level(top: Path) -> Path:
    """The folder with the class folders: `top`, or the only folder `images` in it."""
    inner = top / LEVEL
    return inner if _visible_folders(top) == (LEVEL,) and _visible_folders(inner) else top


def _class_names(train: Path) -> tuple[str, ...]:
    names = _visible_folders(train)
    if len(names) < 2:
        raise DataError(
            f"{train} must hold a folder for each of two classes or more, and holds {len(names)}.",
            f"arrange the images as {train}/CLASS/IMAGE",
        )
    check_names(names, str(train))
    return names


def _listing(
    folder: Path, root: Path, split: str, class_names: tuple[str, ...]
) -> tuple[Listing, Counter[str]]:
    """The listing below `root`, and how many other files there are by their ending."""
    ignored: Counter[str] = Counter()
    of_class = [_image_keys(root, name, ignored) for name in class_names]
    with os.scandir(root) as entries:
        ignored[OUTSIDE] = sum(_is_image(entry.name) for entry in entries if entry.is_file())
    keys = tuple(itertools.chain.from_iterable(of_class))
    if not keys:
        raise DataError(
            f"There are no images in the class folders of {root}.",
            f"images end in one of {' '.join(EXTENSIONS)}",
        )
    labels = np.repeat(
        np.arange(len(class_names), dtype=np.int64), [len(found) for found in of_class]
    )
    return Listing(
        set_name(folder.resolve().name), split, str(root), keys, labels, class_names
    ), ignored


def _image_keys(root: Path, class_name: str, ignored: Counter[str]) -> list[str]:
    """Keys of the images below one class folder, in alphabetical order; counts other files."""
    if not (root / class_name).is_dir():
        return []  # a class without test images
    top = str(root)
    keys = []
    for folder, folders, files in os.walk(root / class_name, onerror=_refuse, followlinks=True):
        folders[:] = [
            name for name in folders if not (name.startswith(".") or _leads_back(folder, name))
        ]
        below = folder[len(top) + 1 :].replace(os.sep, "/")
        visible = [name for name in files if not name.startswith(".")]
        keys += [f"{below}/{name}" for name in visible if _is_image(name)]
        ignored.update(_ending(name) for name in visible if not _is_image(name))
    return sorted(keys)


def _said_of_ignored(folder: Path, ignored: Counter[str]) -> tuple[str, ...]:
    """What is worth saying of files that are left out: those that might hold images."""
    outside = ignored.pop(OUTSIDE, 0)
    said = (f"Images of {folder} that lie in no class folder and are left out: {outside:,}.",)
    others = {ending: n for ending, n in sorted(ignored.items()) if ending not in NO_IMAGES}
    if not others:
        return said if outside else ()
    counts = ", ".join(f"{n:,} {ending or 'without an ending'}" for ending, n in others.items())
    kinds = f"Files in {folder} that are left out, because their kind is not read: {counts}."
    return (kinds, *(said if outside else ()))


def _leads_back(folder: str, name: str) -> bool:
    """Whether a link leads to a folder that it lies in, or that the way to it went through."""
    link = Path(folder, name)
    if not link.is_symlink():
        return False
    target = link.resolve()
    around = (above.resolve() for above in link.parents)
    return Path(folder).resolve().is_relative_to(target) or target in around


def _is_image(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS)


def _ending(name: str) -> str:
    return Path(name).suffix.lower()


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
        look_at(error.filename),
    ) from error
