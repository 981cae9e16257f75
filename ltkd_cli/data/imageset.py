"""What every image set looks like, however its images are stored."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .groups import Groups


@dataclass(frozen=True)
class DataSpec:
    """Which images to train and test on; every field fits into JSON."""

    data: str = "digits-lt"
    """`digits-lt`, `cifar10-lt`, `cifar100-lt`, an image folder or a train list (.txt)."""
    root: str | None = None
    """Where the CIFAR files are, or what the paths of a list are relative to."""
    test_list: str | None = None
    """Test list that belongs to a train list; found by its name where None."""
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


class Images(ABC):
    """N images of one size, read by row."""

    size: tuple[int, int]
    """Height and width in pixels."""
    resident: Tensor | None = None
    """All images, uint8 [N, 3, H, W], where they are kept or mapped in memory."""

    @abstractmethod
    def __len__(self) -> int:
        """N."""

    @abstractmethod
    def gather(self, rows: Tensor) -> Tensor:
        """Images uint8 [B, 3, H, W] of `rows`, int64 [B] on the CPU."""


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
    """64 hex digits that differ wherever images, labels, class names or size differ."""

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
    """Images held out of the training set, where that was asked for."""


def fingerprint(
    content: bytes | memoryview, labels: Tensor, class_names: Sequence[str], size: tuple[int, int]
) -> str:
    """SHA-256 as 64 hex digits over images, labels int64 [N], class names and image size.

    `content` stands for the images: their pixels, or the keys and sizes of their files.
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
