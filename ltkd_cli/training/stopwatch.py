"""How long an epoch takes, and how much of it is waiting for batches."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


class Stopwatch:
    """Times an epoch, or what is left of one, from now on; never waits for a device."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.waited = 0.0
        """Seconds spent in the source that `timed` reads."""

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self.started

    def timed(self, source: Iterable[Item]) -> Iterator[Item]:
        """The items of `source`; the time until it gives each one counts as waiting."""
        items = iter(source)
        while True:
            asked = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            self.waited += time.perf_counter() - asked
            yield item
