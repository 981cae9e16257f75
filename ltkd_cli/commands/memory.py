"""Whether features fit into this machine's memory, before hours are spent on them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch

from ..errors import LtkdError
from ..files import in_bytes


def check_fits(rows: int, views: int, others: int, width: int, available: int | None) -> None:
    """Raises LtkdError where features of some views of training rows do not fit into memory.

    They are float32 [rows, views, width], and those of `others` validation views lie beside them.
    `available` is in bytes; where it is None, nothing is refused.
    """
    size = width * torch.float32.itemsize
    needed = (rows * views + others) * size
    if available is None or needed <= available:
        return
    fitting = (available // size - others) // rows
    instead = f"--views {fitting}" if fitting > 0 else "--recipe imagenet-lt, which keeps none"
    raise LtkdError(
        f"The features of {rows:,} training images, views of each: {views:,}, take "
        f"{in_bytes(needed)} of memory, and {in_bytes(available)} are available.",
        f"the same command with {instead}",
    )


def available_memory() -> int | None:
    """Bytes of memory that processes can still have without swapping; None where not known."""
    with suppress(OSError):  # of Linux alone
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None
