"""One small story, told once: images, a teacher, its cache and a student, to copy and to harm."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

from benchmarks.faults.calling import Said, call
from benchmarks.faults.children import in_child
from ltkd_cli import runs
from ltkd_cli.cache import writer
from ltkd_cli.commands import train
from ltkd_cli.runs.record import sealed

CLASSES = {"cat": 6, "dog": 4, "owl": 2}
"""Training images of each class."""

TINY = (
    *("--model", "resnet8", "--epochs", 2, "--batch-size", 6, "--precision", "float32"),
    *("--evaluate-every", 0, "--device", "cpu"),
)
TEACH = ("teach", "--data", "images", *TINY)
FREEZE = (
    *(*TEACH, "--weights", "runs/teacher/model.safetensors", "--freeze"),
    *("--feature-views", 2),
)
EXPORT = ("export-logits", "teacher", "--views", 2, "--output", "mine.h5", "--device", "cpu")
DISTILL = ("distill", "--method", "bkd", "--cache", "cache.h5", *TINY)

TIMES = ("images_per_second", "waiting")
"""What no two trainings have in common."""


@dataclass(frozen=True)
class Place:
    """A folder with the story, to be copied for each case."""

    told: Path
    """Never changed once it is told."""
    cases: Path
    """Where the copies go."""

    def copy(self, name: str) -> Path:
        """A copy of the story as a folder of its own; the one of that name before is gone."""
        folder = self.cases / name
        shutil.rmtree(folder, ignore_errors=True)
        return Path(shutil.copytree(self.told, folder))


def tell(folder: Path) -> Place:
    """Makes the images and everything that comes of them."""
    place = Place(folder / "told", folder / "cases")
    place.told.mkdir(parents=True)
    place.cases.mkdir()
    assert in_child(lambda: _tell(place.told)) == 0
    return place


def _tell(folder: Path) -> None:
    enter(folder)
    for split, factor in (("train", 1), ("test", 0)):
        for number, (name, count) in enumerate(CLASSES.items()):
            write_images(folder / "images" / split / name, count if factor else 2, number)
    for name, seed in (("teacher", 0), ("other", 1)):
        ok(call(*TEACH, "--seed", seed, "--name", name))
    ok(call("export-logits", "teacher", "--views", 2, "--output", "cache.h5"))
    ok(call("export-logits", "other", "--views", 2, "--output", "other.h5"))
    ok(call(*DISTILL, "--name", "student"))


def enter(folder: Path) -> None:
    """Makes a folder the current one, with a cache of decoded images of its own."""
    os.chdir(folder)
    os.environ["LTKD_CACHE_DIR"] = str(folder / "decoded")
    train.SECONDS_BETWEEN_STATES = 0.0
    writer.SYNC_SECONDS = 0.0


def ok(said: Said) -> Said:
    """What was said by a command that must come to its end."""
    if said.code:
        raise AssertionError(f"exit code {said.code}: {said.err[-500:]}")
    return said


def write_images(folder: Path, count: int, colour: int) -> None:
    """Images of noise in one colour, which are easily told apart."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng([count, colour])
    for number in range(count):
        pixels = noise.integers(0, 100, (8, 8, 3))
        pixels[..., colour] += 120
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")


def result_of(folder: Path) -> dict[str, Any]:
    """All that a finished run came to, but for times: weights, scores, metrics, classes."""
    run = runs.read(folder)
    record = {name: run.record.get(name) for name in ("status", "scores", "weights_sha256")}
    metrics = [
        {name: value for name, value in line.items() if name not in TIMES}
        for line in run.read_metrics()
    ]
    return {
        **record,
        "metrics": metrics,
        "weights": run.verified_weights(),
        "per_class": run.per_class.read_bytes(),
        "files": sorted(path.name for path in folder.iterdir() if path.suffix != ".h5"),
    }


def datasets(path: Path) -> dict[str, bytes]:
    """The stored bytes of every dataset of a cache, by name."""
    with h5py.File(path) as file:
        return {name: file[name][:].tobytes() for name in file}


def listed(folder: Path) -> dict[str, str]:
    """Name and status of every run that `ltkd runs` lists; an error where one is damaged."""
    with chdir(folder):
        said = ok(call("runs", "--json"))
    if "warning" in said.err:
        raise AssertionError(said.err)
    return {run["name"]: run["status"] for run in json.loads(said.out)}


def move_images(folder: Path, old: str, new: str) -> None:
    """Lets a run speak of images in another place."""
    file = folder / "run.json"
    file.write_text(json.dumps(sealed(json.loads(file.read_text().replace(old, new)))))
