"""What commands refuse or warn of in images, views, and a teacher's scores and classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..data import Data
from ..data.filedata import LARGEST_SMALL_SIZE
from ..data.files import name_some
from ..errors import (
    CacheError,
    DataMismatch,
    Hint,
    LtkdError,
    MethodError,
    UsageError,
)
from ..events import ImagesKept, Warned
from ..methods.contract import Method
from ..methods.finding import name_of
from ..runs import Run
from ..views.policy import Policy

FOR_PHOTOGRAPHS = ("--model", "torchvision/resnet18", "--recipe", "imagenet-lt")
"""A small network for photographs, and a recipe for it."""


def warn_of_images(data: Data) -> Iterator[Warned]:
    """What is odd about the images, and which classes have no test or validation image."""
    yield from map(Warned, data.warnings)
    for images in filter(None, (data.test, data.validation)):
        counts = zip(images.class_names, images.class_counts(), strict=True)
        if absent := [name for name, count in counts if not count]:
            yield Warned(f"No {images.split} image of {data.name} is of class {name_some(absent)}.")


def warn_of_network(model: str, data: Data) -> Iterator[Warned]:
    """That a ResNet for CIFAR is to see photographs, which costs several times a usual one."""
    side = max(data.train.images.size)
    if "/" not in model and side > LARGEST_SMALL_SIZE:
        yield Warned(
            f"{model} is made for images of 32 pixels, and these have {side}: it takes more time "
            "and memory than larger networks that are made for photographs.",
            " ".join(FOR_PHOTOGRAPHS),
        )


def how_kept(data: Data) -> Iterator[ImagesKept]:
    """How the decoded images are kept, where they are files."""
    if data.kept is not None:
        yield data.kept


def check_mixtures(policy: Policy, method: type[Method], classes: str, unmixed: Hint) -> None:
    """MethodError or UsageError where views mix images and that cannot be trained on.

    `classes` is the group that an expert is trained of, or `all`; `unmixed` is what makes views
    that are not mixed.
    """
    if not policy.is_mixed:
        return
    if not method.mixtures:
        raise MethodError(
            f"Method {name_of(method)} cannot train on mixtures of images, and views of policy "
            f"{policy.name} are such.",
            unmixed,
        )
    if classes != "all":
        raise UsageError(
            f"An expert learns from images of the {classes} classes alone, and views of policy "
            f"{policy.name} mix them with those of all classes.",
            unmixed,
        )


def refuse_chance(
    teacher: str,
    scores: Mapping[str, Any],
    classes: int,
    hint: Hint,
    force: bool,
    error: type[LtkdError] = CacheError,
) -> Iterator[Warned]:
    """Raises the error for a teacher whose outputs cannot be told from chance; with `force` warns.

    Its balanced accuracy in `scores`, as `Scores.as_dict` has them, must lie above 1 / classes
    with its whole interval. Scores that do not say are believed.
    """
    found = scores.get("balanced_accuracy") or {}
    chance = 1 / classes
    known = all(found.get(name) is not None for name in ("low", "accuracy", "high"))
    if not known or found["low"] > chance:
        return
    places = 1 if chance >= 0.001 else 3
    accuracy, low, high, by_chance = (
        f"{share:.{places}%}" for share in (found["accuracy"], found["low"], found["high"], chance)
    )
    problem = (
        f"{teacher} is no better than chance: its balanced accuracy is {accuracy} "
        f"[{low}, {high}], and chance is {by_chance}."
    )
    if not force:
        raise error(problem, hint)
    yield Warned(problem)


def check_names(
    run: Run, class_names: Sequence[str], image_set: str, force: bool
) -> Iterator[Warned]:
    """Raises DataMismatch unless the run was trained on these classes in this order.

    With `force`, as many classes with other names are a warning.
    """
    trained, given = run.record["data"]["class_names"], list(class_names)
    if trained == given:
        return
    what = f"knows {len(trained)} classes, and {image_set} has {len(given)}"
    if len(trained) == len(given):
        c = next(c for c, (a, b) in enumerate(zip(trained, given, strict=True)) if a != b)
        what = f"knows class {c} as {trained[c]!r}, and in {image_set} it is {given[c]!r}"
    if force and len(trained) == len(given):
        yield Warned(f"{run.name} {what}.")
        return
    raise DataMismatch(f"{run.name} {what}.", "give the images that the run was trained on")
