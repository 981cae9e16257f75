"""Whether images are those that a run knows, and what a test set cannot show."""

from __future__ import annotations

from collections.abc import Iterator

from ..data import Data
from ..data.files import name_some
from ..errors import DataMismatch, UsageError
from ..events import Warned
from ..runs import Run
from ..views.policy import Policy


def warn_of_images(data: Data) -> Iterator[Warned]:
    """What is odd about the images, and which classes have no test image."""
    yield from map(Warned, data.warnings)
    counts = data.test.class_counts()
    absent = [name for name, count in zip(data.test.class_names, counts, strict=True) if not count]
    if absent:
        yield Warned(f"No test image of {data.name} is of class {name_some(absent)}.")


def refuse_mixed(policy: Policy) -> None:
    """UsageError for views that are mixtures of images, which no loader and no cache knows yet."""
    if policy.is_mixed:
        others = [step.text for step in policy.steps if step not in policy.mix_steps]
        raise UsageError(
            f"Views of policy {policy.name} mix images, which training and export-logits cannot "
            "do yet.",
            f"--policy {'+'.join(others) or 'none'}",
        )


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
