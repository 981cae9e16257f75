"""From the text of a policy to its steps."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import UsageError
from .contract import CropStep, MixStep, PixelStep, Step
from .finding import all_names, read_step

SHORT_NAMES = {
    "none": "none",
    "crop-flip": "crop+flip",
    "cifar": "crop+flip",
    "cifar-strong": "crop+flip+autoaugment:cifar10+cutout:16",
    "imagenet": "rrc+flip+jitter:0.4",
    "imagenet-strong": "rrc+flip+jitter:0.4+randaugment:2:30:0.5",
}
"""Names of published policies; docs/views.md says whose. `crop-flip` is the old name of `cifar`."""

_RANKS: dict[type[Step], int] = {CropStep: 0, PixelStep: 1, MixStep: 2}
"""Where a kind of step stands in a policy."""


def read(text: str) -> tuple[Step, ...]:
    """The steps of a policy, checked one by one and against each other."""
    steps = tuple(map(read_step, _expanded(text)))
    names = [step.name() for step in steps]
    ranks = [_RANKS[kind] for step in steps for kind in _RANKS if isinstance(step, kind)]
    for place, step in enumerate(steps):
        if names.index(step.name()) < place:
            raise _misplaced(text, f"{step.name()} is in it twice")
        if ranks[place] < max(ranks[:place], default=0):
            where = "comes first" if isinstance(step, CropStep) else "cannot come after mixing"
            raise _misplaced(text, f"{step.name()} {where}")
    return steps


def _expanded(text: str) -> Iterator[str]:
    """The steps as they are typed, those of short names included."""
    for item in text.split("+"):
        if item != "none":
            yield from SHORT_NAMES.get(item, item).split("+")


def _misplaced(text: str, problem: str) -> UsageError:
    return UsageError(
        f"The policy {text!r} cannot be followed: {problem}. Steps: {', '.join(all_names())}.",
        "--policy crop+flip",
    )
