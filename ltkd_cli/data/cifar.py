"""cifar10-lt and cifar100-lt: the long-tailed subsets of CIFAR that papers report on."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..files import expanded
from .arraydata import Labelled, data_of
from .imageset import Data, DataSpec
from .longtail import long_tail_rows


@dataclass(frozen=True)
class Cifar:
    """One of the two sets."""

    reader: str
    """Its class in `torchvision.datasets`."""
    folder: str
    """The folder that its files lie in, below --data-root."""


SETS = {
    "cifar10-lt": Cifar("CIFAR10", "cifar-10-batches-py"),
    "cifar100-lt": Cifar("CIFAR100", "cifar-100-python"),
}

ROOT = "data"
"""Where the files are looked for and downloaded to, unless --data-root says otherwise."""

IMBALANCE = 100.0

SIZE = 32

MEAN = (0.4914, 0.4822, 0.4465)
"""Channel means that Cao et al. use for both sets."""

STD = (0.2023, 0.1994, 0.2010)
"""Channel standard deviations that Cao et al. use for both sets."""


def load_cifar(spec: DataSpec) -> Data:
    """Long-tailed CIFAR-10 or CIFAR-100 with its full, balanced test set.

    DataError where the files are missing or damaged.

    Source: Cao et al., NeurIPS 2019 (arXiv:1906.07413); subset, order and normalisation as in
    its code. Images: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """
    imbalance = IMBALANCE if spec.imbalance is None else spec.imbalance
    size = spec.image_size or SIZE
    spec = replace(spec, root=spec.root or ROOT, imbalance=imbalance, image_size=size)
    parts, names = _read(spec)
    kind, seed = spec.imbalance_type, spec.imbalance_seed
    labels = parts["train"].labels
    largest = len(labels) // len(names)
    rows = long_tail_rows(labels, len(names), largest, imbalance, kind, seed)
    parts["train"] = parts["train"].take(rows)
    return data_of(spec, spec.data, parts, names, views="crop-flip", statistics=(MEAN, STD))


def _read(spec: DataSpec) -> tuple[dict[str, Labelled], tuple[str, ...]]:
    """Both splits and the class names, by torchvision, which compares every file's MD5 first."""
    from torchvision import datasets  # more than a second to import

    reader = getattr(datasets, SETS[spec.data].reader)
    root = expanded(spec.root or ROOT)
    try:
        with _quietly():
            train = reader(root, train=True, download=spec.download)
            test = reader(root, train=False)
    except (OSError, RuntimeError, HTTPException) as error:
        raise _unusable(reader, root, spec, error) from error
    return {"train": _labelled(train), "test": _labelled(test)}, tuple(train.classes)


def _labelled(dataset: Any) -> Labelled:
    return Labelled(dataset.data, np.array(dataset.targets, dtype=np.int64))


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keeps torchvision from printing, and NumPy 2.4.0 to 2.4.4 from deploring old pickles."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
        yield


def _unusable(reader: Any, root: Path, spec: DataSpec, error: Exception) -> DataError:
    folder = root / SETS[spec.data].folder
    if spec.download:
        return DataError(
            f"{reader.__name__} could not be downloaded to {folder}: {error}.",
            f"download {reader.url} by other means and unpack it in {root}",
        )
    return DataError(
        _what_is_wrong(reader, folder),
        f"add --download, or point --data-root at the folder that holds {folder.name} "
        f"(expected: {folder})",
    )


def _what_is_wrong(reader: Any, folder: Path) -> str:
    """A sentence about the first file that is missing or not what it should be."""
    from torchvision.datasets.utils import check_integrity

    if not folder.is_dir():
        return f"There is no folder {folder} with the files of {reader.__name__}."
    listed = [*reader.train_list, *reader.test_list, [reader.meta["filename"], reader.meta["md5"]]]
    for name, md5 in listed:
        if not (folder / name).is_file():
            return f"The file {folder / name} is missing."
        if not check_integrity(folder / name, md5):
            return f"The file {folder / name} is damaged: its MD5 sum is not {md5}."
    return f"The files of {reader.__name__} in {folder} cannot be read."
