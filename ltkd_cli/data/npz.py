"""NumPy archives as MedMNIST has them: train_images, train_labels, and the same of val and test.

Source: Yang et al., "MedMNIST v2", Scientific Data, 2023 (arXiv:2110.14795).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, DataMismatch, UsageError, look_at, shortened
from ..files import expanded
from .arraydata import Labelled, data_of
from .checks import mark, warnings_of
from .filedata import LARGEST_SMALL_SIZE, PHOTOGRAPH_SIZE
from .heldout import SPLIT
from .imageset import Data, DataSpec
from .lists import check_file
from .longtail import rows_of_spec
from .splits import ONE_LABEL, check_names, set_name

MAX_CLASSES = 100_000
"""A larger label is a slip: every class up to it needs images."""

FORM = "the arrays are train_images uint8 [N, H, W] or [N, H, W, 3], train_labels [N], test_..."


def load_npz(spec: DataSpec) -> Data:
    """The data of an archive; classes are named by their numbers.

    Its validation images are the validation split. Without test images, they are tested on.
    DataError where the archive is damaged or something in it is missing or odd.
    """
    path = expanded(spec.data)
    check_file(path)
    parts = _read(path)
    if not {"test", "val"} & parts.keys():
        raise DataError(f"{path} has neither test_images nor val_images.", FORM)
    names = _class_names(path, parts["train"].labels)
    _check_known(path, parts, len(names))
    rows = rows_of_spec(parts["train"].labels, len(names), spec)
    if rows is not None:
        parts["train"] = parts["train"].take(rows)
    if "test" in parts and (validation := parts.pop("val", None)):
        if spec.validation:
            raise UsageError(
                f"{path} has validation images of its own, so none are held out.",
                "leave out --validation",
            )
        parts[SPLIT] = validation
    name = set_name(path.stem)
    spec = replace(spec, image_size=spec.image_size or _own_size(parts["train"].images))
    data = data_of(spec, name, parts, names, views="crop-flip")
    sets = (data.train, data.test, data.validation)
    marked = [mark(each) for each in sets if each]
    return replace(data, warnings=tuple(warnings_of(name, marked)))


def _read(path: Path) -> dict[str, Labelled]:
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{path} is a single array, not an archive of several.", FORM)
            names = [name for name in ("train", "val", "test") if f"{name}_images" in archive]
            if "train" not in names:
                raise DataError(f"{path} has no train_images.", FORM)
            return {name: _labelled(path, archive, name) for name in names}
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"There was not enough memory to read {path}.", "free -h") from error
    except Exception as error:  # its readers raise whatever broken bytes make them trip over
        raise DataError(
            f"{path} cannot be read as a NumPy archive: {shortened(str(error), 200)}.",
            look_at(path),
        ) from error


def _labelled(path: Path, archive: Mapping[str, NDArray[Any]], name: str) -> Labelled:
    """The images and labels of one split; DataError where they are no such thing."""
    images = archive[f"{name}_images"]
    if f"{name}_labels" not in archive:
        raise DataError(f"{path} has {name}_images and no {name}_labels.", FORM)
    labels = archive[f"{name}_labels"]
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or 0 in images.shape:
        raise DataError(f"{name}_images of {path} is {_kind(images)}, no images in uint8.", FORM)
    if images.ndim == 4 and images.shape[3] not in (1, 3):
        raise DataError(
            f"{name}_images of {path} is {_kind(images)}: volumes, or images of "
            f"{images.shape[3]} channels; images here have 1 or 3.",
            FORM,
        )
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise DataError(
            f"{name}_labels of {path} is {_kind(labels)}: several labels an image.", ONE_LABEL
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape not in (
        (len(images),),
        (len(images), 1),
    ):
        raise DataError(
            f"{name}_labels of {path} is {_kind(labels)}, not a whole number for each of "
            f"{len(images):,} images.",
            FORM,
        )
    return Labelled(_rgb(images), labels.reshape(-1).astype(np.int64))


def _rgb(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images [N, H, W, 3], of grey ones without a copy."""
    if images.ndim == 3:
        images = images[..., None]
    return np.broadcast_to(images, (*images.shape[:3], 3))


def _class_names(path: Path, labels: NDArray[np.int64]) -> tuple[str, ...]:
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > MAX_CLASSES:
        raise DataError(
            f"train_labels of {path} run from {low} to {high}; labels are numbers from 0 to "
            f"{MAX_CLASSES:,}.",
            "number the classes from 0 without gaps",
        )
    absent = np.flatnonzero(np.bincount(labels) == 0)
    if len(absent):
        raise DataError(
            f"{path} has no training image of class {absent[0]}, and its largest class is {high}.",
            "number the classes from 0 without gaps",
        )
    names = tuple(str(label) for label in range(high + 1))
    check_names(names, str(path))
    return names


def _check_known(path: Path, parts: Mapping[str, Labelled], classes: int) -> None:
    for name, part in parts.items():
        unknown = part.labels[(part.labels < 0) | (part.labels >= classes)]
        if len(unknown):
            raise DataMismatch(
                f"{name}_labels of {path} has class {unknown[0]}, which train_labels has not.",
                "give all splits the same classes",
            )


def _own_size(images: NDArray[np.uint8]) -> int:
    """The size of small images, or the usual size of photographs."""
    side = min(images.shape[1:3])
    return side if max(images.shape[1:3]) <= LARGEST_SMALL_SIZE else PHOTOGRAPH_SIZE


def _kind(array: NDArray[Any]) -> str:
    return f"{array.dtype} {list(array.shape)}"
