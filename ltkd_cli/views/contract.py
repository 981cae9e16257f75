"""What a step of a policy is: typed arguments, a version, and what it does to pixels."""

from __future__ import annotations

import dataclasses
import math
import typing
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor

from ..errors import UsageError
from .draws import Draws


class BadArgument(Exception):
    """An argument that a step cannot take; the message says what it takes."""


@dataclass(frozen=True)
class Step(ABC):
    """One step of a policy. The fields of a step are its arguments, in the order they are typed.

    The name of a step is the name of its file. `version` changes whenever the step gives
    other pixels for the same arguments, so that caches which speak of the old pixels are
    refused.
    """

    version: ClassVar[int]
    usage: ClassVar[str]
    """How the step is typed, with its optional arguments in brackets."""

    @classmethod
    def name(cls) -> str:
        """How the step is called in a policy."""
        return cls.__module__.rpartition(".")[2].replace("_", "-")

    @classmethod
    def read(cls, words: Sequence[str]) -> Self:
        """The step with the arguments that were typed behind its name; BadArgument."""
        fields = dataclasses.fields(cls)
        needed = sum(field.default is dataclasses.MISSING for field in fields)
        if not needed <= len(words) <= len(fields):
            raise BadArgument(f"it takes {needed} to {len(fields)} arguments, not {len(words)}")
        hints = typing.get_type_hints(cls)
        given = zip(fields, words, strict=False)
        return cls(**{field.name: parse(hints[field.name], word) for field, word in given})

    def words(self) -> Sequence[str]:
        """The arguments as they are typed, defaults included."""
        values = (getattr(self, field.name) for field in dataclasses.fields(self))
        return [typed(value) for value in values if value is not None]

    @property
    def text(self) -> str:
        """The step as it is typed: one text for each step that gives other pixels."""
        return ":".join([self.name(), *self.words()])


class PixelStep(Step):
    """A step from pixels to pixels of the same size."""

    @abstractmethod
    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """Other pixels for uint8 [B, 3, H, W]; each image follows from its own draws alone."""


class CropStep(Step):
    """A step that cuts what is seen out of a source image of any size; the first of a policy."""

    @abstractmethod
    def boxes(self, heights: Tensor, widths: Tensor, draws: Draws) -> Tensor:
        """Top, left, height and width to cut out of images of the given sizes: int64 [B, 4].

        `heights` and `widths` are int64 [B] on the CPU, and so is the result.
        """


@dataclass(frozen=True)
class MixStep(Step):
    """A step that mixes an image with another one of the set; the last of a policy."""

    alpha: float = 1.0
    """The image's own share is drawn from Beta(alpha, alpha)."""
    share: float = 1.0
    """Share of the views that are mixed."""

    def __post_init__(self) -> None:
        within("alpha", self.alpha, 0.01, 100)
        within("share of views", self.share, 0, 1)

    @abstractmethod
    def boxes(self, shares: Tensor, size: tuple[int, int], draws: Draws) -> Tensor | None:
        """Top, left, bottom and right of what the partner covers, int64 [B, 4]; None to blend.

        `shares`, float64 [B], is the share of each image in its own mixture.
        """


def parse(kind: Any, word: str) -> Any:
    """An argument of the given type; BadArgument where the word is none."""
    if kind is str:
        return word
    try:
        value = float(word) if kind is float else int(word)
    except ValueError:
        wanted = "a number" if kind is float else "a whole number"
        raise BadArgument(f"{word!r} is not {wanted}") from None
    if kind is float and not math.isfinite(value):
        raise BadArgument(f"{word!r} is not a number")
    return value


def typed(value: float | int | str) -> str:
    """A value as it is typed, read back as the very same value."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def within(name: str, value: float, low: float, high: float = math.inf) -> None:
    """BadArgument unless the value is from `low` to `high`."""
    if not low <= value <= high:
        limits = f"from {typed(low)}"
        limits += " up" if high == math.inf else f" to {typed(high)}"
        raise BadArgument(f"its {name} is {limits}, not {typed(value)}")


def refuse(text: str, problem: str, usages: Sequence[str]) -> UsageError:
    """The error for a step that cannot be read; it lists all steps."""
    return UsageError(
        f"The step {text!r} of a policy cannot be read: {problem}. Steps: {', '.join(usages)}.",
        "--policy crop+flip",
    )
