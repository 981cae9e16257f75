"""Commands killed before and within every call that changes the disk, and at random moments.

After each kill, nothing that is there may be wrong, and the command that goes on must end in the
bytes of an undisturbed one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.faults import story
from benchmarks.faults.children import (
    WRITES,
    Case,
    calls_of,
    killed_after,
    killed_at,
    outcomes,
)
from benchmarks.faults.scenarios import Scenario, Step, exports, scenarios
from benchmarks.faults.story import Place

KILLS = 12
"""At random moments, of each command."""


def at_every_call(
    place: Place, random: Random, share: float, chosen: Sequence[Scenario] | None = None
) -> Iterator[tuple[str, str]]:
    """Name of each case, and what is wrong; before every call, and within every write."""
    for scenario in chosen or scenarios():
        start, undisturbed, _ = _started(place, scenario)
        names = _in(start, "trace", lambda scenario=scenario: calls_of(scenario.work))
        moments = [(n, False) for n in range(len(names) + 1)]
        moments += [(n, True) for n, name in enumerate(names) if name in WRITES]
        cases = [
            _case(start, scenario, undisturbed, f"call {n}{' half done' * half}", _kill_at(n, half))
            for n, half in sorted(moments)
            if random.random() < share
        ]
        yield from zip((case.name for case in cases), outcomes(cases, 120.0), strict=True)


def of_exports(place: Place, random: Random, share: float) -> Iterator[tuple[str, str]]:
    """The same for `export-logits` alone, whatever it is of, with and without `--force`."""
    yield from at_every_call(place, random, share, exports())


def at_random(place: Place, random: Random, share: float) -> Iterator[tuple[str, str]]:
    """The same at random moments, by a signal from outside."""
    for scenario in scenarios():
        start, undisturbed, duration = _started(place, scenario)
        moments = [random.uniform(0, duration) for _ in range(round(KILLS * share))]
        cases = [
            _case(start, scenario, undisturbed, f"after {seconds:.3f} s", _kill_after(seconds))
            for seconds in moments
        ]
        yield from zip((case.name for case in cases), outcomes(cases, 120.0), strict=True)


Kill = Callable[[Step], object]


def _kill_at(moment: int, half: bool) -> Kill:
    return lambda work: killed_at(moment, work, half=half)


def _kill_after(seconds: float) -> Kill:
    return lambda work: killed_after(seconds, work)


def _case(start: Place, scenario: Scenario, undisturbed: Any, when: str, kill: Kill) -> Case:
    def work() -> str:
        story.enter(start.copy("killed"))
        kill(scenario.work)
        scenario.go_on()
        return "" if scenario.result() == undisturbed else "another result than undisturbed"

    return Case(f"{scenario.name}, {when}", work)


def _started(place: Place, scenario: Scenario) -> tuple[Place, Any, float]:
    """What the command finds, to be copied, what it comes to undisturbed, and its seconds."""
    start = Place(place.cases / "start", place.cases)
    _in(place, "start", scenario.begin)

    def undisturbed() -> tuple[Any, float]:
        began = time.perf_counter()
        scenario.work()
        seconds = time.perf_counter() - began
        scenario.go_on()
        return scenario.result(), seconds

    return start, *_in(start, "undisturbed", undisturbed)


def _in(place: Place, name: str, work: Callable[[], Any]) -> Any:
    """What `work` returns in a copy of the story; this process stays where it is."""
    before = Path.cwd()
    story.enter(place.copy(name))
    try:
        return work()
    finally:
        os.chdir(before)
