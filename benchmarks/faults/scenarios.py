"""Every command that writes: what it finds, what a user does after a kill, what all comes to."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.calling import call
from benchmarks.faults.children import killed_at
from benchmarks.faults.story import (
    CLASSES,
    DISTILL,
    EXPORT,
    FREEZE,
    TEACH,
    datasets,
    listed,
    ok,
    result_of,
)

Step = Callable[[], object]


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


def scenarios() -> list[Scenario]:
    """All of them."""
    return [
        _training("teach", TEACH),
        _training("teach --resume", TEACH, _interrupted),
        *heads(),
        _training("distill", DISTILL),
        _students("distill --seeds --jobs 1", 1),
        _students("distill --seeds --jobs 2", 2),
        _rebalancing("tau-norm"),
        _rebalancing("crt"),
        *exports(),
        _evaluation(),
    ]


def heads() -> list[Scenario]:
    """On a frozen backbone, whose features are computed, or are those of another run."""
    return [
        _head("teach --freeze", nothing),
        _head("teach --freeze, with the features of another run", _first_head),
    ]


def exports() -> list[Scenario]:
    """Caches: of a run, of several, of a file with weights, and of files with outputs."""
    images = ("--data", "images", "--output", "mine.h5")
    views = ("--views", 2, "--device", "cpu")
    mean = ("export-logits", "teacher", "other", *views, "--output", "mine.h5")
    weights = ("export-logits", "--weights", "runs/teacher/model.safetensors", *views, *images)
    return [
        _export("export-logits", EXPORT),
        _replacement(),
        _export("export-logits of several runs", mean),
        _export("export-logits --weights", weights),
        _export("export-logits --logits", ("export-logits", *_OUTPUTS, *images), _outputs),
    ]


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


def _head(name: str, begin: Step) -> Scenario:
    """A head on a frozen backbone; after the kill, the run that lends features is removed."""
    plain = _training(name, FREEZE, begin)

    def go_on() -> None:
        shutil.rmtree("runs/first", ignore_errors=True)
        plain.go_on()

    def result() -> Any:
        return plain.result(), datasets(Path("runs/mine/features.hdf5"))

    return Scenario(name, begin, plain.work, go_on, result)


def _first_head() -> None:
    ok(call(*FREEZE, "--method", "balanced-softmax", "--name", "first"))


def _students(name: str, jobs: int) -> Scenario:
    """Two students; with two jobs, each in a process of its own that outlives the killed one."""
    seeds = (0, 1)

    def go_on() -> None:
        _wait_for_orphans()
        statuses = listed(Path.cwd())
        for seed in seeds:
            status = statuses.get(f"mine-{seed}")
            if status is None:
                ok(call(*DISTILL, "--seed", seed, "--name", f"mine-{seed}"))
            elif status != "done":
                ok(call("distill", "--resume", f"mine-{seed}"))

    return Scenario(
        name,
        nothing,
        lambda: ok(call(*DISTILL, "--seeds", "0,1", "--jobs", jobs, "--name", "mine")),
        go_on,
        lambda: [result_of(Path(f"runs/mine-{seed}")) for seed in seeds],
    )


def _wait_for_orphans() -> None:
    """Until no student is trained in the current folder by a process of its own."""
    while any(_works_here(process) for process in Path("/proc").glob("[0-9]*")):
        time.sleep(0.02)


def _works_here(process: Path) -> bool:
    try:
        is_spawned = b"spawn_main" in (process / "cmdline").read_bytes()
        return is_spawned and (process / "cwd").readlink() == Path.cwd()
    except OSError:  # it has ended, or is another user's
        return False


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


def _export(name: str, command: tuple[object, ...], begin: Step = nothing) -> Scenario:
    def go_on() -> None:
        if Path("mine.h5").exists():
            ok(call("cache", "verify", "mine.h5"))
        ok(call(*command))

    return Scenario(name, begin, lambda: ok(call(*command)), go_on, _exported)


_OUTPUTS = ("--logits", "logits.npy", "--features", "features.npy")


def _outputs() -> None:
    """Files as of another program, whose logits are right about every training image."""
    labels = np.repeat(np.arange(len(CLASSES)), [*CLASSES.values()])
    noise = np.random.default_rng(0).random((len(labels), 8), np.float32)
    np.save("logits.npy", np.eye(len(CLASSES), dtype=np.float32)[labels] * 3 + noise[:, :3])
    np.save("features.npy", noise)


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
