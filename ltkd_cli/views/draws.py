"""Random numbers of a step, which follow from (policy seed, step, row, view) and nothing else.

They are drawn on the host for a whole batch at once, so a GPU never waits for them.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..rng import counter_hash


@dataclass(frozen=True)
class Draws:
    """What the random numbers of a batch follow from."""

    seed: int
    """The policy's."""
    rows: Tensor
    """int64 [B] on the CPU."""
    views: Tensor
    """int64 [B] on the CPU."""
    stream: int = 0
    """Keeps the numbers of different steps apart."""

    def of(self, step: str) -> Draws:
        """The draws of the step of that name."""
        return replace(self, stream=zlib.crc32(step.encode()))

    def at(self, places: Tensor) -> Draws:
        """The draws of the images at `places`, int64 on the CPU."""
        return replace(self, rows=self.rows[places], views=self.views[places])

    def uniforms(self, count: int) -> Tensor:
        """`count` independent numbers in [0, 1) for each image: float64 [count, B]."""
        numbers = torch.arange(count)[:, None]
        bits = counter_hash(self.seed, self.stream, self.rows, self.views, numbers)
        return (bits >> 10).double() / 2**53

    def legacy_bits(self) -> Tensor:
        """63 bits for each image, shared by `crop` and `flip` since their first version."""
        return counter_hash(self.seed, self.rows, self.views)


def choose(uniform: Tensor, count: int | Tensor) -> Tensor:
    """A whole number below `count` for each number in [0, 1): int64, same shape."""
    return (uniform * count).long()


def send(values: Tensor, device: torch.device) -> Tensor:
    """Values on a device; those of the host without waiting for what the device still computes."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def spread(values: Tensor, device: torch.device) -> Tensor:
    """One float32 number for each image, [B] on the host, as [B, 1, 1, 1] on a device."""
    return send(values.float(), device)[:, None, None, None]
