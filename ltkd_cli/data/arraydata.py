"""From arrays of pixels to the data that training needs, for the sets that come as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from .decode import Pixels, channels_first, square
from .images import ResidentImages
from .imageset import ImageSet, fingerprint


@dataclass(frozen=True)
class Labelled:
    """Images uint8 [N, H, W, 3] and their labels int64 [N]."""

    images: Pixels
    labels: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> Labelled:
        """The images of some rows, in their order."""
        return Labelled(self.images[rows], self.labels[rows])


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
