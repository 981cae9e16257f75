"""From arrays of pixels to the data that training needs, for the sets that come as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from .decode import Pixels, channels_first, square
from .groups import group_classes
from .heldout import SPLIT, hold_out
from .images import ResidentImages
from .imageset import Data, DataSpec, ImageSet, fingerprint
from .statistics import Statistics, channel_statistics


@dataclass(frozen=True)
class Labelled:
    """Images uint8 [N, H, W, 3] and their labels int64 [N]."""

    images: Pixels
    labels: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> Labelled:
        """The images of some rows, in their order."""
        return Labelled(self.images[rows], self.labels[rows])


def data_of(
    spec: DataSpec,
    name: str,
    parts: Mapping[str, Labelled],
    class_names: tuple[str, ...],
    *,
    views: str,
    statistics: Statistics | None = None,
) -> Data:
    """The data of a long-tailed training set `train`, and of the one to test on, `test` or `val`.

    `spec` has its defaults filled in. Validation images are those that it asks for, taken from
    `train`; else those of the part `validation`, if any. Without `statistics`, mean and standard
    deviation of every channel are those of the training images.
    """
    subset = parts["train"]
    rest, held = hold_out(subset, spec)
    kept = {**parts, "train": rest, **({SPLIT: held} if held else {})}
    size = spec.image_size or subset.images.shape[1]
    sets = {split: image_set(name, split, part, class_names, size) for split, part in kept.items()}
    mean, std = statistics or channel_statistics(sets["train"].images)
    return Data(
        spec=spec,
        name=name,
        train=sets["train"],
        test=sets["test" if "test" in sets else "val"],
        groups=group_classes(np.bincount(subset.labels).tolist(), spec.groups),
        mean=mean,
        std=std,
        views=views,
        validation=sets.get(SPLIT),
    )


def image_set(
    name: str, split: str, content: Labelled, class_names: tuple[str, ...], size: int
) -> ImageSet:
    """The image set of an array, its images resized to squares of `size` pixels."""
    pixels = torch.from_numpy(_resized(content.images, size))
    labels = torch.from_numpy(content.labels)
    raw = pixels.numpy().reshape(-1).data
    mark = fingerprint(raw, labels, class_names, (size, size))
    return ImageSet(name, split, ResidentImages(pixels), labels, class_names, mark)


def _resized(images: Pixels, size: int) -> Pixels:
    """Pixels uint8 [N, 3, size, size] of images uint8 [N, H, W, 3]."""
    if images.shape[1:3] == (size, size):
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return np.stack([channels_first(square(Image.fromarray(image), size)) for image in images])
