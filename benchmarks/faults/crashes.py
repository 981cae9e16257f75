"""Commands killed before and within every call that changes the disk, and at random moments.

After each kill, nothing that is there may be wrong, and the command that goes on must end in the
bytes of an undisturbed one.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.faults import story
from benchmarks.faults.calling import call
from benchmarks.faults.children import (
    WRITES,
    Case,
    calls_of,
    killed_after,
    killed_at,
    outcomes,
)
from benchmarks.faults.story import DISTILL, EXPORT, TEACH, Place, datasets, listed, ok, result_of

Step = Callable[[], object]

KILLS = 12
"""At random moments, of each command."""


@dataclass(frozen=True)
class Scenario:
    """A command that is killed."""

    name: str
    begin: Step
    """Makes the current folder, a copy of the story, what the command finds."""
    work: Step
    """The command."""
    go_on: Step
    """What a user does next; checks what is there before."""
    result: Callable[[], Any]
    """What all came to."""


def nothing() -> None:
    """For a command that finds the story as it is."""


def _training(name: str, command: tuple[object, ...], begin: Step = nothing) -> Scenario:
    """A training called `mine`, which is resumed where there is such a run."""

    def work() -> None:
        if Path("runs/mine").exists():
            ok(call(command[0], "--resume", "mine"))
        else:
            ok(call(*command, "--name", "mine"))

    def go_on() -> None:
        status = listed(Path.cwd()).get("mine")
        if status is None and Path("runs/mine").exists():
            raise AssertionError("a folder that is no run has taken the name")
        work()

    return Scenario(name, begin, work, go_on, lambda: result_of(Path("runs/mine")))


def _interrupted() -> None:
    """A training that was killed in the middle."""
    assert killed_at(50, lambda: call(*TEACH, "--name", "mine"))


def _rebalancing(strategy: str) -> Scenario:
    command = ("rebalance", "teacher", "--strategy", strategy, "--name", "mine", "--device", "cpu")

    def go_on() -> None:
        status = listed(Path.cwd()).get("mine")
        if status not in (None, "done"):
            raise AssertionError(f"a rebalance is {status}")
        if status is None:
            ok(call(*command))

    return Scenario(
        f"rebalance --strategy {strategy}",
        nothing,
        lambda: ok(call(*command)),
        go_on,
        lambda: result_of(Path("runs/mine")),
    )


def _export() -> Scenario:
    def go_on() -> None:
        if Path("mine.h5").exists():
            ok(call("cache", "verify", "mine.h5"))
        ok(call(*EXPORT))

    return Scenario("export-logits", nothing, lambda: ok(call(*EXPORT)), go_on, _exported)


def _replacement() -> Scenario:
    seeded = (*EXPORT, "--view-seed", 5, "--force")
    old: dict[str, bytes] = {}

    def begin() -> None:
        ok(call(*EXPORT))
        old.update(datasets(Path("mine.h5")))

    def go_on() -> None:
        ok(call("cache", "verify", "mine.h5"))
        before = datasets(Path("mine.h5"))
        ok(call(*seeded))
        if before not in (old, datasets(Path("mine.h5"))):
            raise AssertionError("neither the old cache nor the new one")

    return Scenario("export-logits --force", begin, lambda: ok(call(*seeded)), go_on, _exported)


def _exported() -> Any:
    ok(call("cache", "verify", "mine.h5"))
    left = sorted(path.name for path in Path.cwd().iterdir() if "mine.h5" in path.name)
    return datasets(Path("mine.h5")), [name for name in left if not name.endswith(".lock")]


def _evaluation() -> Scenario:
    """The first look at images: they are decoded and hashed into the user's cache folder."""

    def work() -> str:
        return ok(call("eval", "teacher", "student", "--json", "--device", "cpu")).out

    return Scenario("eval", lambda: shutil.rmtree("decoded"), work, nothing, work)


def scenarios() -> list[Scenario]:
    """Every command that writes."""
    return [
        _training("teach", TEACH),
        _training("teach --resume", TEACH, _interrupted),
        _training("distill", DISTILL),
        _rebalancing("tau-norm"),
        _rebalancing("crt"),
        _export(),
        _replacement(),
        _evaluation(),
    ]


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
    """The same for `export-logits` alone, with and without `--force`."""
    yield from at_every_call(place, random, share, [_export(), _replacement()])


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
