"""An epoch of our own loop over random images, by which all contenders are timed.

Random pixels and outputs: how long a step takes does not depend on what is learnt.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ltkd_cli import devices, models
from ltkd_cli.cache import Cache, CacheWriter, Layout
from ltkd_cli.data import ImageSet
from ltkd_cli.data.groups import group_classes
from ltkd_cli.data.images import ResidentImages
from ltkd_cli.methods.contract import Task, Teacher
from ltkd_cli.methods.finding import find
from ltkd_cli.models import ModelSpec, Network
from ltkd_cli.training.loader import Loader, open_loader
from ltkd_cli.training.loop import Training, begin, train
from ltkd_cli.training.recipe import Recipe
from ltkd_cli.views.policy import Policy

CLASSES = 10
VIEWS = 16
BATCH = 128
POLICY = Policy("crop-flip")
RECIPE = Recipe(epochs=1, batch_size=BATCH, schedule="constant")


def epoch_of(
    images: ImageSet,
    cache: Cache | None,
    method: str,
    student: str,
    precision: str,
    device: torch.device,
) -> Callable[[], None]:
    """A function that trains one epoch by our own loop."""
    training, loader = training_of(images, cache, method, student, device)
    chosen = devices.choose_precision(precision, device)
    return lambda: train_epoch(training, loader, chosen)


def training_of(
    images: ImageSet,
    cache: Cache | None,
    method: str,
    student: str,
    device: torch.device,
    *,
    resident: bool = True,
) -> tuple[Training, Loader]:
    """A training at its start, and its loader."""
    method_class = find(method)
    caches = (cache,) if cache and method_class.needs else ()
    built = network(student)
    counts = images.class_counts()
    teachers = tuple(Teacher(0, _no_features) for _ in caches)
    task = Task(torch.tensor(counts), images.labels, group_classes(counts), built.width, teachers)
    training = begin(built, method_class(task), RECIPE, device)
    loader = open_loader(images, POLICY, caches, method_class.needs, device, resident=resident)
    return training, loader


def train_epoch(training: Training, loader: Loader, precision: str) -> None:
    """Trains for one epoch, whatever was trained before, and waits for its end."""
    training.epoch = 0
    for _ in train(training, loader, RECIPE, seed=0, precision=precision):
        pass
    wait(loader.device)


def network(name: str) -> Network:
    """A new network for the random images."""
    half = (0.5, 0.5, 0.5)
    return models.build(ModelSpec(name, CLASSES, mean=half, std=half), seed=0)


def random_images(number: int) -> ImageSet:
    """As many random 32-pixel images, long-tailed labels."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (number, 3, 32, 32), generator=generator, dtype=torch.uint8)
    weights = 0.6 ** torch.arange(CLASSES).float()
    labels = torch.multinomial(weights, number, replacement=True, generator=generator)
    names = tuple(map(str, range(CLASSES)))
    return ImageSet("random", "train", ResidentImages(pixels), labels, names, "0" * 64)


def random_cache(path: Path, images: ImageSet) -> Cache:
    """A cache of random outputs for every view."""
    layout = Layout.even(images.labels.numpy(), CLASSES, VIEWS)
    attributes = {
        "fingerprint": images.fingerprint,
        "class_names": list(images.class_names),
        "class_counts": images.class_counts(),
    }
    with CacheWriter(path, layout, attributes) as writer:
        generator = np.random.default_rng(0)
        writer.write(0, generator.normal(size=(layout.entries, CLASSES)).astype(np.float32))
        writer.finish()
    return Cache.open(path)


def wait(device: torch.device) -> None:
    """Waits until a GPU has done all it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _no_features(name: str) -> torch.Tensor:
    raise LookupError(f"no {name} in a cache of random logits")
