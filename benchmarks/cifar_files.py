"""An image folder as the files of CIFAR-10, so that other code can train on the same images.

    python -m benchmarks.cifar_files FOLDER OUT

Reads FOLDER/train/CLASS/FILE and FOLDER/test/CLASS/FILE, images of 32 pixels, and writes
OUT/cifar-10-batches-py in the layout that `torchvision.datasets.CIFAR10` reads: five files of
training images and one of test images. Classes are numbered by name, and images stay in the
order of their class and file name. This is the order that `ltkd` has them in, so the published
procedure chooses the same long-tailed subset from these files as `--data FOLDER --imbalance`
does from the folder.

torchvision compares each file with the MD5 sum of the original one, and no other file can pass.
Switch the check off before the first data set is made:

    torchvision.datasets.cifar.check_integrity = lambda path, md5=None: True
"""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FILES = {
    "train": ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"),
    "test": ("test_batch",),
}
"""Split -> the files that share its images."""

SHAPE = (32, 32, 3)
"""Height, width and channels of every image."""


class Split(NamedTuple):
    """Images of one split as CIFAR-10 stores them."""

    pixels: NDArray[np.uint8]
    """[N, 3072]: a row is an image, red before green before blue."""
    labels: list[int]
    names: list[str]
    """CLASS/FILE of each image."""

    def part(self, number: int, parts: int) -> dict[str, object]:
        """What the file of that number holds, of a split that fills `parts` files."""
        start, stop = (len(self.labels) * n // parts for n in (number, number + 1))
        return {
            "data": self.pixels[start:stop],
            "labels": self.labels[start:stop],
            "filenames": self.names[start:stop],
        }


def main() -> None:
    """Reads the command line and writes the files."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("folder", type=Path, help="holds train/CLASS/FILE and test/CLASS/FILE")
    parser.add_argument("out", type=Path, help="where cifar-10-batches-py is written")
    arguments = parser.parse_args()
    convert(arguments.folder, arguments.out / "cifar-10-batches-py")


def convert(folder: Path, target: Path) -> None:
    """Writes the images of `folder` to the folder `target`."""
    classes = class_names(folder)
    target.mkdir(parents=True, exist_ok=True)
    for split, files in FILES.items():
        content = read(folder / split, classes)
        for number, name in enumerate(files):
            write(target / name, content.part(number, len(files)))
        print(f"{split}: {len(content.labels):,} images in {', '.join(files)}")
    write(target / "batches.meta", {"label_names": classes})


def class_names(folder: Path) -> list[str]:
    """Names of the classes, which both splits must have."""
    found = {split: visible(folder / split) for split in FILES}
    if found["train"] != found["test"]:
        raise SystemExit(f"train and test in {folder} have different classes: {found}")
    return found["train"]


def visible(folder: Path) -> list[str]:
    """Sorted names of what lies in a folder, hidden files left out."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def read(folder: Path, classes: list[str]) -> Split:
    """The images of one split, class by class."""
    names = [f"{name}/{file}" for name in classes for file in visible(folder / name)]
    labels = [classes.index(name.partition("/")[0]) for name in names]
    return Split(np.stack([row(folder / name) for name in names]), labels, names)


def row(path: Path) -> NDArray[np.uint8]:
    """The pixels of an image file, channel by channel."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    if pixels.shape != SHAPE:
        raise SystemExit(f"{path} has {pixels.shape[1]} x {pixels.shape[0]} pixels, not 32 x 32")
    return pixels.transpose(2, 0, 1).reshape(-1)


def write(path: Path, content: dict[str, object]) -> None:
    """Pickles a dictionary; these files are written here and never read."""
    with path.open("wb") as file:
        pickle.dump(content, file)


if __name__ == "__main__":
    main()
