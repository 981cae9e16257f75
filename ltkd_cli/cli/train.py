"""`ltkd teach` and `ltkd distill`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from .. import distributed
from ..commands.settings import Watch
from ..errors import Interrupted, UsageError, command
from . import options

OF_MACHINE = ("device", "resident")
"""Settings that a run may change on the way, since they are no part of its identity."""

WITH_RESUME = frozenset(
    [
        *("resume", "runs", "log_every", "tensorboard", "profile"),
        *("data", "root", "test_list", "store", "caches", *OF_MACHINE),
    ]
)
"""Parameters that --resume allows: what to watch, where images and caches lie now, and where
the training computes and keeps them.
"""


@options.with_settings(
    *("model", "method", "options", "head", "pretrained", "weights", "mean", "std"),
    *("freeze", "feature_views", "views", "augment", "classes", "seed"),
    model="resnet32",
    method="ce",
)
def teach(
    *,
    context: typer.Context,
    given: dict[str, Any],
    name: options.Name = None,
    resume: options.Resume = None,
    runs: options.Runs = options.DEFAULT_RUNS,
    log_every: options.LogEvery = 0,
    tensorboard: options.TensorBoard = False,
    profile: options.Profile = False,
) -> None:
    """Train a teacher, or a baseline without one."""
    watch = _watch(tensorboard, profile)
    if resume is None:
        _train(runs, "teach", given, {given["seed"]: name}, 1, log_every, watch)
    else:
        _resume(context, runs, resume, given, log_every, watch)


@options.with_settings(
    *("method", "caches", "model", "options", "head", "pretrained", "seed"),
    hidden=("mixup", "cutmix"),
    model="resnet20",
    method="bkd",
)
def distill(
    *,
    context: typer.Context,
    given: dict[str, Any],
    seeds: options.Seeds = None,
    name: options.Name = None,
    resume: options.Resume = None,
    runs: options.Runs = options.DEFAULT_RUNS,
    jobs: options.Jobs = None,
    force: options.Force = False,
    log_every: options.LogEvery = 0,
    tensorboard: options.TensorBoard = False,
    profile: options.Profile = False,
) -> None:
    """Train a student from a cache; the teacher itself is not needed."""
    watch = _watch(tensorboard, profile)
    if resume is not None:
        _resume(context, runs, resume, given, log_every, watch)
        return
    if seeds is None and jobs is not None:
        hint = command("distill", "--seeds", "0,1,2", "--jobs", str(jobs))
        raise UsageError("--jobs is for the several students of --seeds.", hint)
    if seeds is not None and _source(context, "seed") in ("COMMANDLINE", "DEFAULT_MAP"):
        hint = command("distill", "--seeds", seeds)
        raise UsageError("--seed and --seeds exclude each other.", hint)
    names = {given["seed"]: name}
    if seeds is not None:
        names = {each: f"{name}-{each}" if name else None for each in options.parse_seeds(seeds)}
    _train(runs, "distill", given, names, jobs, log_every, watch, force)


def _watch(tensorboard: bool, profile: bool) -> Watch:
    """What else to write, of which all must be there before a run is made."""
    if tensorboard:
        from ..training.tensorboard import check_installed

        check_installed()
    return Watch(tensorboard, profile)


def _train(
    runs: Path,
    kind: str,
    given: dict[str, Any],
    names: dict[int, str | None],
    jobs: int | None,
    log_every: int,
    watch: Watch,
    force: bool = False,
) -> None:
    """A run for each seed of `names`, all from the same images and caches."""
    _quiet_profiler()
    from .. import console
    from .. import runs as run_folders
    from ..commands import several
    from ..commands import train as training
    from ..commands.prepare import prepare
    from ..console.runs import print_next, print_run

    if len(names) > 1 and distributed.size() > 1:
        raise UsageError("Processes of torchrun train one student, not several.", "--seed 0")
    for name in names.values():
        if name is not None:
            run_folders.check_name(runs, name)
    first = next(iter(names))
    given = {**given, "seed": first}
    prepared = console.follow(prepare(runs, kind, given, console.decoding, force=force))
    jobs = min(jobs or several.default_jobs(prepared.device), len(names))
    made, error = [], None
    if jobs > 1:
        created = console.follow(several.create(runs, kind, prepared, names, jobs))
        error = console.follow_students(several.train(created, jobs, watch), log_every)
        ended = [run_folders.read(run.path) for run in created.values()]
        made = [run for run in ended if run.done]
        for run in made:
            print_run(run)
    else:
        for seed, name in names.items():
            # A run moves its network to its device; the one at hand must not stay there for all.
            own = prepared if len(names) == 1 else prepared.with_seed(seed)
            run = console.follow(training.start(runs, kind, own, name, watch), log_every)
            print_run(run)
            made.append(run)
    if error:
        raise error
    print_next(made)


def _resume(
    context: typer.Context,
    runs: Path,
    which: str,
    given: dict[str, Any],
    log_every: int,
    watch: Watch,
) -> None:
    _refuse_other_settings(context, which)
    place, caches = given["data"], given.get("caches")
    machine = {name: given[name] for name in OF_MACHINE if _is_typed(context, name)}
    _quiet_profiler()
    from .. import console
    from .. import runs as run_folders
    from ..commands import train as training
    from ..console.runs import print_next, print_run

    if which == "last":
        run = run_folders.newest(runs, context.info_name, done=False)
    else:
        run = run_folders.find(runs, which)
    if run.done:
        run.state.unlink(missing_ok=True)  # left there by a kill in the very last moment
        console.note(f"{run.name} is finished; there is nothing to resume.")
    else:
        resumed = training.resume(run, console.decoding, watch, place, caches, machine)
        try:
            run = console.follow(resumed, log_every)
        except Interrupted as error:
            raise Interrupted(error.problem, run.resuming(*_beside_resume(context))) from None
    print_run(run)
    print_next([run])


def _quiet_profiler() -> None:
    """Keeps the remarks of PyTorch's profiler from the screen; read when PyTorch is loaded."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "10")


def _refuse_other_settings(context: typer.Context, which: str) -> None:
    """Raises UsageError where an option beside --resume would have no effect."""
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name not in WITH_RESUME and _is_typed(context, parameter.name or "")
    ]
    if given:
        raise UsageError(
            f"A resumed run keeps its own settings, so {', '.join(given)} cannot be given.",
            command(context.info_name or "", "--resume", which),
        )


def _beside_resume(context: typer.Context) -> Iterator[str]:
    """The options that were typed beside --resume, to be typed again."""
    for parameter in context.command.params:
        name = parameter.name or ""
        if name in ("resume", "runs") or not _is_typed(context, name):
            continue
        value = context.params[name]
        for each in value if isinstance(value, list | tuple) else [value]:
            yield parameter.opts[0]
            if not isinstance(each, bool):
                yield str(each)


def _is_typed(context: typer.Context, name: str) -> bool:
    return _source(context, name) == "COMMANDLINE"


def _source(context: typer.Context, name: str) -> str:
    """Where a value is from: COMMANDLINE, DEFAULT_MAP for --config, or else."""
    source = context.get_parameter_source(name)
    return "" if source is None else source.name
