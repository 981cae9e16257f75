"""Whether features fit into this machine's memory, before hours are spent on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

from ..errors import LtkdError
from ..files import in_bytes

MEMINFO = Path("/proc/meminfo")
CONTROL_GROUP = Path("/proc/self/cgroup")
CONTROL_GROUPS = Path("/sys/fs/cgroup")
"""Where Linux says what memory there is, and what a container or a scheduler limits."""


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
    """Bytes of memory that this process can still have without swapping; None where not known.

    That is what the machine has left, or a container or a job scheduler that gave it less.
    """
    known = [*_of_machine(), *_of_control_groups()]
    return max(0, min(known)) if known else None


def _of_machine() -> Iterator[int]:
    with suppress(OSError):  # of Linux alone
        for line in MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                yield int(line.split()[1]) * 1024


def _of_control_groups() -> Iterator[int]:
    """What is left in each control group (version 2) around this process that has a limit.

    Pages of files that were not used lately count as used, and are given up where need be.
    """
    with suppress(OSError):
        own = [line for line in CONTROL_GROUP.read_text().splitlines() if line.startswith("0::/")]
        path = CONTROL_GROUPS / own[0].removeprefix("0::/") if own else CONTROL_GROUPS
        for group in (path, *path.parents):
            if not group.is_relative_to(CONTROL_GROUPS):
                return
            with suppress(OSError, ValueError, StopIteration):  # no limit: "max", or no such file
                limit = int((group / "memory.max").read_text())
                used = int((group / "memory.current").read_text())
                parts = (group / "memory.stat").read_text().splitlines()
                idle = next(int(each.split()[1]) for each in parts if "inactive_file " in each)
                yield limit - used + idle
