"""A network's scores on the test set of its data, or on its validation images."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..data import Data, ImageSet
from ..data.files import name_some
from ..errors import DataMismatch
from ..events import Warned
from ..inference import predict
from ..metrics import Scores, score
from ..models import Network
from ..runs import Run


def score_on_test(
    network: Network, data: Data, device: torch.device, precision: str = "float32"
) -> Scores:
    """Scores on the clean test images; float32 wherever the numbers are kept."""
    return score_on(data.test, network, data, device, precision)


def score_on(
    images: ImageSet,
    network: Network,
    data: Data,
    device: torch.device,
    precision: str = "float32",
) -> Scores:
    """Scores on other clean images of the same classes: those held out for validation."""
    return score(
        predict(network, images, device, precision),
        images.labels,
        data.groups,
        data.train.class_names,
        data.train.class_counts(),
    )


def cautions(data: Data) -> Iterator[Warned]:
    """What is odd about the images, and what the test set cannot say of classes it lacks."""
    yield from map(Warned, data.warnings)
    counts = data.test.class_counts()
    absent = [name for name, count in zip(data.test.class_names, counts, strict=True) if not count]
    if absent:
        yield Warned(f"No test image of {data.name} is of class {name_some(absent)}.")


def check_classes(run: Run, data: Data) -> None:
    """Raises DataMismatch unless the run was trained on these classes in this order."""
    trained, given = run.record["data"]["class_names"], list(data.train.class_names)
    if trained == given:
        return
    what = f"knows {len(trained)} classes, and {data.name} has {len(given)}"
    if len(trained) == len(given):
        c = next(c for c, (a, b) in enumerate(zip(trained, given, strict=True)) if a != b)
        what = f"knows class {c} as {trained[c]!r}, and in {data.name} it is {given[c]!r}"
    raise DataMismatch(f"{run.name} {what}.", "give the images that the run was trained on")
