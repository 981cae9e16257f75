"""What a network is made of, as a record that goes into run and weight files."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any

from ..errors import UsageError
from ..records import checked

Channels = tuple[float, float, float]
"""One number for each of red, green and blue; pixel values are in [0, 1]."""


@dataclass(frozen=True)
class ModelSpec:
    """Everything that decides a network's layers, but none of its weights."""

    name: str
    """`resnet32` (made for small images), `torchvision/NAME` or `timm/NAME`."""
    classes: int
    """C, the number of logits."""
    head: str = "linear"
    """The last layer: `linear`, or `cosine:SCALE` (unit features and weights)."""
    projection: int = 0
    """Width of a linear layer with ReLU before the head, part of the network; 0 for none."""
    _: KW_ONLY
    mean: Channels
    """Subtracted from every image."""
    std: Channels
    """Divides what is left."""
    pretrained: bool = False
    """Whether training began from the zoo's weights, whose own mean and std then apply."""

    @classmethod
    def from_dict(cls, values: Any) -> ModelSpec:
        """The spec that `dataclasses.asdict` turned into `values`, also by way of JSON.

        Raises ValueError where `values` are anything else.
        """
        spec: ModelSpec = checked(values, cls)
        return spec

    def check(self) -> None:
        """Raises UsageError where a value cannot be built."""
        if self.classes < 1:
            raise UsageError(f"A network needs at least one class, not {self.classes}.")
        if self.projection < 0:
            raise UsageError(
                f"The projection of {self.name} cannot be {self.projection} wide.",
                "use 0 for no projection",
            )
        if not all(math.isfinite(value) for value in (*self.mean, *self.std)) or min(self.std) <= 0:
            raise UsageError(
                f"{self.name} cannot normalise with mean {self.mean} and std {self.std}.",
                "every number must be finite and every std above 0",
            )
        self.cosine_scale()

    def cosine_scale(self) -> float | None:
        """SCALE of a `cosine:SCALE` head, None for a linear one; UsageError for other text."""
        kind, _, text = self.head.partition(":")
        if self.head == "linear":
            return None
        try:
            scale = float(text)
        except ValueError:
            scale = math.nan
        if kind != "cosine" or not (math.isfinite(scale) and scale > 0):
            raise UsageError(
                f"There is no head {self.head!r}; there are linear and cosine:SCALE.",
                "use linear, or for instance cosine:20",
            )
        return scale
