"""A folder of JPEG photographs of different sizes and shapes, as users have them."""

from __future__ import annotations

import numpy as np
from PIL import Image

SIZES = [(90, 60), (50, 120), (36, 36), (33, 48), (200, 40), (1, 30), (30, 1), (20, 25)]
"""Width and height of images that are larger, as large and smaller than what is kept of them."""

SIZE, SHORT = 32, 36
"""Image size, and the short side that photographs have at most for it."""


def photograph(label, number, size):
    """Smooth random colours around one that tells the class."""
    generator = np.random.default_rng([label, number])
    blobs = generator.integers(0, 156, (4, 4, 3)) + np.eye(3, dtype=int)[label % 3] * 99
    small = Image.fromarray(blobs.astype(np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def write_photographs(folder, train=(12, 8, 4), test=4, sizes=SIZES):
    """Writes train/CLASS/N.jpg and test/CLASS/N.jpg below `folder`, and returns it."""
    for split, counts in (("train", train), ("test", [test] * len(train))):
        for label, count in enumerate(counts):
            for number in range(count):
                path = folder / split / f"class{label}" / f"{number:03}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                own = number + 100 * (split == "test")
                size = sizes[(number + label) % len(sizes)]
                photograph(label, own, size).save(path, quality=90)
    return folder
