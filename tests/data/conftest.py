"""Small image folders and lists, written as users write them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def _write_image(path, seed=0, size=(8, 8)):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def write_image():
    """Writes one image of noise, `size` = (width, height), and returns its pixels [H, W, 3]."""
    return _write_image


@pytest.fixture
def make_folder(tmp_path):
    """Writes a folder with the given training images per class, and returns its path."""

    def make(counts, test=2, name="pets", test_split="test", size=(8, 8)):
        folder = tmp_path / name
        seed = 0
        for split, numbers in (("train", counts), (test_split, [test] * len(counts))):
            for label, number in enumerate(numbers):
                for image in range(number):
                    seed += 1
                    _write_image(folder / split / f"class{label}" / f"{image:03}.png", seed, size)
        return folder

    return make


@pytest.fixture
def make_lists(tmp_path):
    """Writes images and two lists in the way of ImageNet-LT; returns the train list's path."""

    def make(train_labels, test_labels, train="pets_train.txt", test="pets_test.txt"):
        for name, labels in (("train", train_labels), ("test", test_labels)):
            for number, label in enumerate(labels):
                _write_image(tmp_path / name / f"{number}.png", seed=100 * label + number)
        for path, name, labels in ((train, "train", train_labels), (test, "test", test_labels)):
            lines = [f"{name}/{number}.png {label}\n" for number, label in enumerate(labels)]
            (tmp_path / path).write_text("".join(lines))
        return tmp_path / train

    return make
