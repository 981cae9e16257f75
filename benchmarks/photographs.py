"""Photographs of mixed sizes through all four commands, from the store and from files.

    python -m benchmarks.photographs --cifar FOLDER

Writes a long-tailed folder of JPEG files of many sizes and shapes: parts of the two sample
photographs of scikit-learn, a class each, and images of FOLDER/train/CLASS/*.jpg enlarged, a
class for each of CIFAR's. Then teaches, exports, distils and evaluates with the policy
`imagenet`, once with `--store always` and once with `--store never`, and compares weights and
outputs bit for bit.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from benchmarks import timing

LARGEST, SMALLEST, TESTED = 60, 6, 12
"""Training images of the largest and of the smallest class, and test images of each."""

SHORT, LONGEST = (40, 400), 3.0
"""Pixels of the short side of an image, and its long side by its short one, at most."""

STORES = ("always", "never")


def main() -> None:
    """Writes the images, runs all commands twice and writes what came of them."""
    arguments = parse()
    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        images = write_images(here / "photographs", arguments.cifar)
        told = {store: story(here, store, arguments) for store in STORES}
    results = {
        "machine": timing.machine(torch.device("cpu")),
        "images": images,
        "image size": arguments.image_size,
        "policy": arguments.policy,
        "epochs": arguments.epochs,
        **told,
        "same bit for bit": {
            name: told["always"][name] == told["never"][name]
            for name in ("teacher weights", "student weights", "cache", "scores")
        },
    }
    timing.write(arguments.output, results)
    print(json.dumps(results, indent=2))


def story(here: Path, store: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Teach, export, distil and evaluate; what it came to."""
    runs = here / store
    environment = {**os.environ, "LTKD_CACHE_DIR": str(here / f"decoded-{store}")}
    training = ["--epochs", str(arguments.epochs), "--batch-size", "32", "--evaluate-every", "0"]
    training += ["--precision", "float32", "--learning-rate", "0.05"]
    images = ["--data", str(here / "photographs"), "--image-size", str(arguments.image_size)]
    commands = {
        "teach": [*images, "--policy", arguments.policy, "--store", store, *training,
                  "--model", arguments.teacher, "--groups", "rank"],
        "export-logits": ["--views", str(arguments.views)],
        "distill": ["--method", "bkd", "--model", arguments.student, *training],
        "eval": ["1", "2"],
    }  # fmt: skip
    for name, options in commands.items():
        command = [sys.executable, "-m", "ltkd_cli", name, *options, "--runs", str(runs)]
        subprocess.run(command, env=environment, check=True, capture_output=True)
    teacher, student = (record(runs, number) for number in (1, 2))
    scores = [run["scores"]["all"]["accuracy"] for run in (teacher, student)]
    return {
        "waiting": waiting(runs),
        "bytes of the store": sum(
            path.stat().st_size for path in (here / f"decoded-{store}").glob("*.images")
        ),
        "teacher weights": teacher["weights_sha256"],
        "student weights": student["weights_sha256"],
        "cache": outputs_sha256(next(runs.glob("*/*.h5"))),
        "scores": dict(zip(("teacher", "student"), scores, strict=True)),
    }


def record(runs: Path, number: int) -> dict[str, Any]:
    """What run.json says of a run."""
    path = next(runs.glob(f"{number:04}-*/run.json"))
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def waiting(runs: Path) -> list[float]:
    """Share of the time that the student's steps waited for their batches, epoch by epoch."""
    lines = next(runs.glob("0002-*/metrics.jsonl")).read_text().splitlines()
    return [round(json.loads(line)["waiting"], 3) for line in lines]


def outputs_sha256(path: Path) -> str:
    """One checksum over the logits and features of a cache."""
    total = hashlib.sha256()
    with h5py.File(path) as file:
        for name in ("logits", "features"):
            total.update(file[name][:].tobytes())
    return total.hexdigest()


def write_images(folder: Path, cifar: Path) -> dict[str, Any]:
    """Writes the folder of images; says how many there are, of which sizes."""
    china, flower = load_sample_images().images
    classes: dict[str, Iterator[Image.Image]] = {
        "china": itertools.repeat(Image.fromarray(china)),
        "flower": itertools.repeat(Image.fromarray(flower)),
    }
    for path in sorted((cifar / "train").iterdir()):
        classes[path.name] = (Image.open(file) for file in sorted(path.iterdir()))
    sizes = []
    decline = (SMALLEST / LARGEST) ** (1 / (len(classes) - 1))
    for number, (name, sources) in enumerate(classes.items()):
        counts = {"train": round(LARGEST * decline**number), "test": TESTED}
        generator = np.random.default_rng(number)
        for split, count in counts.items():
            target = folder / split / name
            target.mkdir(parents=True)
            for place, source in enumerate(itertools.islice(sources, count)):
                image = cut(source, generator)
                image.save(target / f"{place:03}.jpg", quality=90)
                sizes.append(image.size)
    shorts = [min(size) for size in sizes]
    return {
        "classes": len(classes),
        "images": len(sizes),
        "different sizes": len(set(sizes)),
        "short sides": [min(shorts), max(shorts)],
        "longest by shortest side": round(max(max(s) / min(s) for s in sizes), 2),
        "bytes": sum(path.stat().st_size for path in folder.rglob("*.jpg")),
    }


def cut(source: Image.Image, generator: np.random.Generator) -> Image.Image:
    """A random part of an image, of random aspect, at a random size."""
    aspect = float(np.exp(generator.uniform(-np.log(LONGEST), np.log(LONGEST))))
    share = generator.uniform(0.5, 1)
    width = min(source.width, share * source.height * aspect)
    height = width / aspect
    left, top = (generator.uniform(0, whole - part)
                 for whole, part in ((source.width, width), (source.height, height)))  # fmt: skip
    short = int(generator.integers(*SHORT))
    size = (round(short * max(1, aspect)), round(short * max(1, 1 / aspect)))
    box = (left, top, left + width, top + height)
    return source.convert("RGB").resize(size, Image.Resampling.BICUBIC, box=box)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cifar", type=Path, required=True, help="FOLDER/train/CLASS/*.jpg")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--policy", default="imagenet")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--teacher", default="resnet14")
    parser.add_argument("--student", default="resnet8")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/photographs.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
