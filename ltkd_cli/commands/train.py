"""`teach` and `distill`: from settings to a finished run folder, and on again after a stop."""

from __future__ import annotations

import dataclasses
import errno
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from .. import devices, distributed, models, runs
from ..data.decoded import Progress
from ..errors import (
    Diverged,
    Interrupted,
    RunError,
)
from ..events import EpochEnd, Evaluated, Event, Note, TrainingBegins, TrainingResumes, Warned
from ..inference import evaluate
from ..metrics import write_per_class
from ..runs import Run
from ..training import residency
from ..training.compiling import compile_network
from ..training.features import FeatureLoader
from ..training.interrupts import stop_requests
from ..training.loader import Loader, bytes_to_keep, open_loader
from ..training.loop import Training, begin, train
from ..training.profiling import profiled
from ..training.state import load_state, save_state
from ..training.tensorboard import Log, event_files
from . import configuration
from .frozen import open_features
from .initial import is_frozen
from .prepare import Prepared, reopen, trained_rows
from .provenance import data_record, environment, parent_record
from .resuming import check_unchanged, in_place, require_caches
from .settings import Settings, Watch

SECONDS_BETWEEN_STATES = 60.0
"""A killed run repeats at most about this much."""

ONE_VALUE = "Expected more than 1 value per channel when training"
"""How batch normalisation begins what it says of a batch with one value a channel."""

MORE_SHARED_MEMORY = "a container with more of it (docker run --shm-size=8g), or a smaller batch"


def start(
    root: Path, kind: str, prepared: Prepared, name: str | None, watch: Watch | None = None
) -> Generator[Event, None, Run]:
    """Makes a run folder and trains in it; the generator's return value is the Run."""
    run = None if distributed.rank() else create(root, kind, prepared, name)
    path = distributed.shared(run.path if run else None)
    return (yield from _fit(run or _along(path), prepared, watch or Watch()))


def create(root: Path, kind: str, prepared: Prepared, name: str | None) -> Run:
    """A run folder in which nothing is trained yet; `resume` will begin."""
    settings, threads = prepared.settings, torch.get_num_threads()
    known = {
        "environment": environment(prepared.device),
        "data": data_record(prepared.data),
        "parents": [parent_record(cache) for cache in prepared.caches],
        "threads": threads,
        "seconds": 0.0,
    }
    label = f"{settings.method}-{settings.model}"
    with runs.creating(root, kind, label, settings.as_json(), name, **known) as run:
        options = configuration.of_training(kind, settings, prepared.source, force=prepared.force)
        configuration.write(run, options, threads)
    return run


def resume(
    run: Run,
    progress: Progress | None = None,
    watch: Watch | None = None,
    place: dict[str, Any] | None = None,
    caches: Sequence[Path] | None = None,
    machine: dict[str, str] | None = None,
) -> Generator[Event, None, Run]:
    """Continues an unfinished run from its last state, or from the start where it has none.

    `place` has fields of a DataSpec that say where its images lie now, and `caches` are its
    teachers' where they have moved, in their order. `machine` has the `device` and the `resident`
    of this part of the training, where they are not those that it began with.

    From here on this process has as many CPU threads as the run began with: sums in another
    order would end in other weights. DataMismatch where images are not what they were, and
    CacheMismatch where a teacher's outputs are not.
    """
    if distributed.rank():
        run = _along(run.path)
    if run.kind == "rebalance":  # begun by version 0.1, which made the folder first
        run.require_done()
    yield from map(Warned, run.warnings)
    settings = Settings.of(run)
    if settings.processes != distributed.size():
        raise RunError(
            f"{run.name} was begun by {settings.processes} processes, and this is one of "
            f"{distributed.size()}: its batches would be normalised in other parts.",
            run.resume_command,
        )
    if settings.recipe.mixing:
        raise RunError(
            f"{run.name} mixes the images of each batch with one another, as version 0.1 did, and "
            "this one cannot go on with it.",
            run.anew(),
        )
    torch.set_num_threads(run.record.get("threads", torch.get_num_threads()))
    settings = in_place(run, settings, place or {}, caches, machine or {})
    require_caches(run, settings)
    prepared = reopen(settings, progress)
    check_unchanged(run, prepared)
    return (yield from _fit(run, prepared, watch or Watch()))


def _fit(run: Run, prepared: Prepared, watch: Watch) -> Generator[Event, None, Run]:
    """Trains in the folder of a run, which knows at any moment whether it can go on."""
    with run.held(), stop_requests() as asked:
        stop = distributed.agreed(asked)
        if runs.read(run.path).done:  # by another process, before this one held the run
            return runs.read(run.path)
        recipe, kept, batch = prepared.settings.recipe, 0, 0
        try:
            run.update(status="running", environment=environment(prepared.device))
            training = begin(prepared.network, prepared.method, recipe, prepared.device)
            if prepared.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(prepared.device)
            loader: Loader | FeatureLoader
            if is_frozen(prepared.settings):
                began = time.perf_counter()
                loader = yield from open_features(run, prepared, stop)
                took = time.perf_counter() - began
                run.update(seconds=round(run.record["seconds"] + took, 2))
                training.forward = training.network.classify
            else:
                batch = recipe.batch_size  # whether data fit beside a step is tried on a batch
                loader = _loader(prepared, training)
                if loader.reader and (lacking := loader.reader.lacking(batch)):
                    yield Warned(lacking, MORE_SHARED_MEMORY)
            kept, batch = loader.bytes_on_gpu, recipe.batch_size
            yield from _train(run, prepared, training, loader, watch, stop)
        except KeyboardInterrupt:
            raise Interrupted(
                f"{run.name} goes back to its last saved state, if it has one.",
                run.resume_command,
            ) from None
        except Diverged:
            run.update(status="failed")
            raise
        except torch.OutOfMemoryError:
            run.update(status="failed")
            peak = torch.cuda.max_memory_allocated(prepared.device)
            step = batch, recipe.accumulate, prepared.settings.precision
            raise residency.out_of_memory(run, kept, peak, *step) from None
        except ValueError as error:
            if not str(error).startswith(ONE_VALUE):
                raise
            run.update(status="failed")
            raise RunError(
                f"{run.name} cannot normalise a batch of a single image.",
                run.anew("--batch-size", "2"),
            ) from error
        except OSError as error:
            if not _is_about(run, error):
                raise
            raise RunError(
                f"{run.path} cannot be written: {error.strerror}.", run.resume_command
            ) from error
    distributed.barrier()
    return runs.read(run.path) if distributed.rank() else run


def _along(path: Path) -> Run:
    """The run that another process trains, too, and alone writes."""
    return runs.Follower(path, runs.read(path).record)


def _is_about(run: Run, error: OSError) -> bool:
    """Whether the error is that of a file of the run, which could not be written."""
    if error.filename is None:  # it was opened, and then could not be filled
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
    return Path(os.fsdecode(error.filename)).resolve().is_relative_to(run.path.resolve())


def _loader(prepared: Prepared, training: Training) -> Loader:
    """What the training reads, on its device where `--resident` says so."""
    settings, images, caches = prepared.settings, prepared.data.train, prepared.caches
    needs = prepared.method.needs
    resident = residency.decide(
        settings.resident,
        bytes_to_keep(images, caches, needs),
        training.network,
        (-(-settings.recipe.batch_size // distributed.size()), 3, *images.images.size),
        settings.precision,
        prepared.device,
    )
    return open_loader(
        images,
        prepared.policy,
        caches,
        needs,
        prepared.device,
        resident=resident,
        subset=trained_rows(settings, prepared.data),
        jitter_seed=settings.seed if settings.augment == "jitter" else None,
    )


def _train(
    run: Run,
    prepared: Prepared,
    training: Training,
    loader: Loader | FeatureLoader,
    watch: Watch,
    stop: Callable[[], bool],
) -> Iterator[Event]:
    settings = prepared.settings
    torch.manual_seed(settings.seed)  # for dropout, in whatever state the process was
    if run.state.exists():
        if warned := load_state(training, run.state, run.identity):
            yield warned
        yield TrainingResumes(run.name, training.epoch, training.batch)
    else:
        yield _begins(run, prepared)
    run.keep_metrics_to(training.epoch)
    keeper = _Keeper(run, training, loader)
    if settings.compile and isinstance(loader, Loader):
        yield Note(f"{run.name}: compiling the network, which can take minutes")
        yield compile_network(training, loader, settings.recipe, settings.precision)
    events = train(training, loader, settings.recipe, settings.seed, settings.precision, stop)
    watched = profiled(events, run.path) if watch.profile and not distributed.rank() else events
    with _event_files(run, training, watch) as log:
        yield from _epochs(run, prepared, training, watched, keeper, log)
    if training.epoch < settings.recipe.epochs:
        keeper.keep()
        run.update(status="interrupted")
        distributed.barrier()  # torchrun ends all when the first has ended
        raise Interrupted(
            f"{run.name} is in epoch {training.epoch + 1} of {settings.recipe.epochs}; "
            "nothing is lost.",
            run.resume_command,
        )
    if not distributed.rank():
        _finish(run, prepared, training, keeper)


def _epochs(
    run: Run,
    prepared: Prepared,
    training: Training,
    events: Iterator[Event],
    keeper: _Keeper,
    log: Log,
) -> Iterator[Event]:
    recipe, every = prepared.settings.recipe, prepared.settings.evaluate_every
    for event in events:
        events_of_step, last = [event], False
        if isinstance(event, EpochEnd):
            record: dict[str, Any] = dataclasses.asdict(event)
            last = event.epoch == recipe.epochs
            if every and event.epoch % every == 0 and not (last or distributed.rank()):
                checked = _evaluate(prepared, training, event.epoch)
                record[checked.split] = checked.accuracy
                events_of_step.append(checked)
            run.log(record)
            log(record)
        between_steps = training.batch % recipe.accumulate == 0
        try:
            yield from events_of_step
        except GeneratorExit:  # nobody takes events any more: a closed pipe
            if between_steps:
                keeper.keep()
            raise
        if between_steps:
            keeper.keep_if_due(at_once=last)


def _event_files(run: Run, training: Training, watch: Watch) -> AbstractContextManager[Log]:
    if not watch.tensorboard or distributed.rank():
        return nullcontext(lambda record: None)
    return event_files(run.path / "tensorboard", training.epoch + 1)


class _Keeper:
    """Writes the training state into the run folder from time to time, with the seconds spent."""

    def __init__(self, run: Run, training: Training, loader: Loader | FeatureLoader) -> None:
        self.run, self.training, self.loader = run, training, loader
        self.before: float = run.record["seconds"]
        self.began = self.kept = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Spent on the run so far, over all its parts."""
        return self.before + time.perf_counter() - self.began

    def keep_if_due(self, at_once: bool = False) -> None:
        if at_once or time.perf_counter() - self.kept > SECONDS_BETWEEN_STATES:
            self.keep()

    def keep(self) -> None:
        """Writes the state, unless it may be a wrong one.

        Raises Diverged where losses are not finite, and CacheDamaged where the file that the
        training reads was changed, which a mapped file does not tell.
        """
        if distributed.rank():
            return
        self.loader.check_unchanged()
        if self.training.losses:
            self.training.losses.finish()
        save_state(self.training, self.run.state, self.run.identity)
        self.run.update(seconds=round(self.seconds, 2))
        self.kept = time.perf_counter()


def _finish(run: Run, prepared: Prepared, training: Training, keeper: _Keeper) -> None:
    network = training.final_network
    models.save(network, run.weights)
    data, device = prepared.data, prepared.device
    known, policy = (data.groups, data.train.class_counts(), device), prepared.policy
    scores = evaluate(network, data.test, *known, policy=policy)
    held_out = (
        data.validation and evaluate(network, data.validation, *known, policy=policy).as_dict()
    )
    rows = trained_rows(prepared.settings, data)
    write_per_class(run.per_class, scores)
    run.update(
        status="done",
        data=data_record(data),
        weights_sha256=models.weights_sha256(run.weights),
        parameters=models.parameter_count(network),
        train_images=len(data.train.labels if rows is None else rows),
        scores=scores.as_dict(),
        validation_scores=held_out,
        seconds=round(keeper.seconds, 2),
    )
    run.state.unlink(missing_ok=True)


def _evaluate(prepared: Prepared, training: Training, epoch: int) -> Evaluated:
    """Accuracy on the validation images where there are any, so that the test set stays unseen."""
    data, network = prepared.data, training.final_network
    images = data.validation or data.test
    known = data.groups, data.train.class_counts(), prepared.device, prepared.settings.precision
    scores = evaluate(network, images, *known, policy=prepared.policy)
    split = "test" if data.validation is None else images.split
    return Evaluated(epoch, split, scores.accuracies())


def _begins(run: Run, prepared: Prepared) -> TrainingBegins:
    settings, data = prepared.settings, prepared.data
    rows = trained_rows(settings, data)
    return TrainingBegins(
        run=run.name,
        model=settings.model,
        method=settings.method,
        image_set=data.name,
        group=settings.classes,
        images=len(data.train.labels if rows is None else rows),
        classes=len(data.train.class_names),
        recipe=settings.recipe_name,
        epochs=settings.recipe.epochs,
        seed=settings.seed,
        precision=settings.precision,
        device=devices.describe(prepared.device),
    )
