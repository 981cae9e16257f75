"""Random numbers without a generator: a hash of integers, the same on every device.

Every draw of ltkd (crops, flips, sample order, the choice of a view) is a hash of what it
is for: (seed, epoch, row, ...). There is no state to carry, save or restore, so a run that
is resumed, reordered or spread over processes draws the same numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Multipliers and shifts of the SplitMix64 finaliser, as signed 64-bit integers.
_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15
_FIRST = -4658895280553007687  # 0xBF58476D1CE4E5B9
_SECOND = -7723592293110705685  # 0x94D049BB133111EB


def counter_hash(*parts: int | Tensor) -> Tensor:
    """Non-negative int64 hash of the parts, in the shape they broadcast to.

    Every part is an integer or an int64 tensor; at least one is a tensor, and all tensors
    are on one device. The order of the parts matters. The low 63 bits are uniform.

    Source: the finaliser of Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
    Generators", OOPSLA 2014, applied once for every part.
    """
    state: int | Tensor = 0
    for part in parts:
        state = _mix((state ^ part) + _GOLDEN) if _is_tensor(state, part) else _mix_int(state, part)
    if not isinstance(state, Tensor):
        raise TypeError("counter_hash needs at least one tensor")
    return state & 0x7FFFFFFFFFFFFFFF


def seeded(*parts: int) -> int:
    """The hash of plain integers as a Python integer in [0, 2**63)."""
    return int(counter_hash(*[torch.tensor(part) for part in parts]))


def _is_tensor(*values: int | Tensor) -> bool:
    return any(isinstance(value, Tensor) for value in values)


def _mix(z: int | Tensor) -> Tensor:
    assert isinstance(z, Tensor)
    z = (z ^ _shift_right(z, 30)) * _FIRST
    z = (z ^ _shift_right(z, 27)) * _SECOND
    return z ^ _shift_right(z, 31)


def _mix_int(state: int | Tensor, part: int | Tensor) -> int:
    return int(_mix((torch.tensor(state) ^ part) + _GOLDEN))


def _shift_right(z: Tensor, bits: int) -> Tensor:
    """Logical shift: `>>` on int64 copies the sign bit, which the mask removes."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
