"""What every image set looks like, however its images are stored."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..events import ImagesKept
from .groups import Groups


@dataclass(frozen=True)
class DataSpec:
    """Which images to train and test on; every field fits into JSON."""

    data: str = "digits-lt"
    """A built-in set, a folder, a list, a manifest, JSON, .npz, or `hf:FOLDER` (docs/data.md)."""
    root: str | None = None
    """Where the CIFAR files are, or what the paths of a list or manifest are relative to."""
    test_list: str | None = None
    """Test list that belongs to a train list or manifest; found by its name where None."""
    imbalance: float | None = None
    """Images of the largest class for one of the smallest; None keeps a folder as it is."""
    imbalance_type: str = "exp"
    """`exp` or `step`."""
    imbalance_seed: int = 0
    """Chooses which images a long-tailed subset keeps."""
    validation: int = 0
    """Training images of each class held out for validation, at most half of a class."""
    image_size: int | None = None
    """Height and width in pixels; None for the set's own."""
    groups: str = "auto"
    """`auto`, `counts` or `rank`: how classes form head, medium and tail."""
    download: bool = False
    """Whether missing CIFAR files may be fetched."""
    short_side: int | None = None
    """Pixels that the short side of a photograph is kept with; None for 256/224 of the size."""
    store: str = "auto"
    """Whether decoded image files are kept: `auto`, `always` or `never`."""


READ_AT_ONCE = 100
"""Images in memory at once."""


class Images(ABC):
    """N images, read by row: of one size, or photographs of their own sizes."""

    size: tuple[int, int]
    """Height and width, in pixels, of what is shown of them."""
    ready: bool = False
    """Whether they all have this size and lie in memory, so that reading some is a copy."""

    @property
    def resident(self) -> Tensor | None:
        """All images, uint8 [N, 3, H, W], where they are kept or mapped in memory."""
        return None

    @abstractmethod
    def __len__(self) -> int:
        """N."""

    @abstractmethod
    def gather(self, rows: Tensor) -> Tensor | list[Tensor]:
        """Images uint8 [B, 3, H, W] of `rows`, int64 [B] on the CPU.

        Those of their own sizes come as B images [3, H, W].
        """

    def each(self, rows: Tensor) -> Iterator[NDArray[np.uint8]]:
        """The images of rows, one after the other: uint8 [3, H, W]."""
        for part in torch.split(rows, READ_AT_ONCE):
            yield from (image.numpy() for image in self.gather(part))

    def hashes(self) -> NDArray[np.uint8]:
        """SHA-256 of the pixels of every image, [N, 32]."""
        images = self.each(torch.arange(len(self)))
        whole = b"".join(hashlib.sha256(image.tobytes()).digest() for image in images)
        return np.frombuffer(whole, np.uint8).reshape(-1, 32)


@dataclass(frozen=True)
class ImageSet:
    """N labelled images of one split."""

    name: str
    split: str
    """What it was read from: `train`, `test` or `val`; `validation` where it was held out."""
    images: Images
    labels: Tensor
    """int64 [N]."""
    class_names: tuple[str, ...]
    fingerprint: str
    """64 hex digits that differ wherever a byte of the images, their order, labels, class names
    or size differ."""
    earlier: Callable[[], str] | None = field(default=None, repr=False, compare=False)
    """Computes the fingerprint that version 0.1.0 gave these images, where it was another."""

    @cached_property
    def fingerprint_v1(self) -> str:
        """What version 0.1.0 wrote into caches and runs: of files it read a sample only."""
        return self.fingerprint if self.earlier is None else self.earlier()

    def matches(self, fingerprint: str | None) -> bool:
        """Whether a cache or run with that fingerprint, of this version or 0.1.0, is of these."""
        return fingerprint == self.fingerprint or fingerprint == self.fingerprint_v1

    def class_counts(self) -> list[int]:
        """Number of images of each class, in class order."""
        counts: list[int] = torch.bincount(self.labels, minlength=len(self.class_names)).tolist()
        return counts


@dataclass(frozen=True)
class Data:
    """A training set, its test set and what follows from them."""

    spec: DataSpec
    """The specification it came from, its defaults filled in."""
    name: str
    train: ImageSet
    test: ImageSet
    groups: Groups
    """Head, medium and tail classes by training counts, with the images that are held out."""
    mean: tuple[float, float, float]
    """Mean of each channel of the training images, in [0, 1]."""
    std: tuple[float, float, float]
    """Standard deviation of each channel, in the same unit."""
    views: str
    """View policy that suits these images unless told otherwise."""
    validation: ImageSet | None = None
    """Images held out of the training set, or the validation split that the set brings along."""
    warnings: tuple[str, ...] = ()
    """Sentences about what the user may not have meant."""
    kept: ImagesKept | None = None
    """How decoded image files are kept; None for images that are no files."""


def fingerprint(
    content: bytes | memoryview, labels: Tensor, class_names: Sequence[str], size: tuple[int, int]
) -> str:
    """SHA-256 as 64 hex digits over images, labels int64 [N], class names and image size.

    `content` stands for the images: their pixels, or the keys and hashes of their files.
    """
    numbers = labels.numpy().astype("<i8").tobytes()
    facts = json.dumps([list(class_names), list(size)]).encode()
    return digest(content, numbers, facts)


def digest(*parts: bytes | memoryview) -> str:
    """SHA-256 as 64 hex digits over byte strings, each preceded by its length."""
    total = hashlib.sha256()
    for part in parts:
        total.update(memoryview(part).nbytes.to_bytes(8, "little"))
        total.update(part)
    return total.hexdigest()
