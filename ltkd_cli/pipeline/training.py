"""`teach` and `distill`: from settings to a finished run folder, and on again after a stop."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import __version__, devices, evaluate, models, runs
from ..cache import Cache
from ..data import Data, load
from ..data.decoded import Progress
from ..data.view import ViewPolicy
from ..errors import (
    DataMismatch,
    Diverged,
    Interrupted,
    LtkdError,
    MethodError,
    RunError,
    UsageError,
)
from ..events import Checked, Event, Note
from ..feed import open_feed
from ..interrupts import stop_requests
from ..method import Method, Task, find
from ..models import ModelSpec, Network
from ..profiling import profiled
from ..runs import Run
from ..tensorboard import Log, event_files
from ..train import EpochEnd, Training, begin, load_state, save_state, train
from . import caches as teacher_caches
from .settings import TrainSettings
from .testing import score_on_test

SECONDS_BETWEEN_STATES = 15.0
"""A killed run repeats at most about this much, and never more than an epoch."""


@dataclass(frozen=True)
class Watch:
    """What else to write while a run trains; it changes nothing about the run."""

    tensorboard: bool = False
    """Event files in the run's folder `tensorboard`."""
    profile: bool = False
    """A trace of a few steps, `trace.json`, and the main costs in words."""


@dataclass(frozen=True)
class Prepared:
    """Everything a training needs, checked, before a run folder is made."""

    settings: TrainSettings
    data: Data
    caches: tuple[Cache, ...]
    method: Method
    network: Network
    policy: ViewPolicy
    device: torch.device


def prepare(settings: TrainSettings, progress: Progress | None = None) -> Prepared:
    """Opens and checks all that the settings name; raises the matching LtkdError.

    `progress` hears how many images of how many are decoded, where they must be.
    """
    device = devices.choose_device(settings.device)
    if device.type == "cpu":
        devices.keep_freed_memory()
    precision = devices.choose_precision(settings.precision, device)
    method_class = find(settings.method)
    caches = tuple(teacher_caches.open_cache(Path(path)) for path in settings.caches)
    if method_class.needs and not caches:
        raise MethodError(
            f"Method {settings.method} learns from a teacher, and no cache is given.",
            f"ltkd distill --method {settings.method}",
        )
    if caches and (settings.recipe.mixup or settings.recipe.cutmix):
        raise MethodError(
            f"Method {settings.method} cannot train on mixed images: the cache holds the "
            "teacher's answers to single images, not to mixtures.",
            "leave out --mixup and --cutmix",
        )
    data = load(settings.data, progress)
    _check_group(settings, data)
    for cache in caches:
        teacher_caches.check(cache, data, method_class.needs)
    policy = teacher_caches.policy_of(caches) if caches else _policy(settings, data)
    network = _network(settings, data, method_class, caches)
    task = _task(settings, data, method_class, caches, network.width)
    method = build_method(method_class, task, settings.options, settings.seed)
    resolved = dataclasses.replace(
        settings,
        data=data.spec,
        head=network.spec.head,
        views=policy.name,
        view_seed=policy.seed,
        precision=precision,
    )
    return Prepared(resolved, data, caches, method, network, policy, device)


def build_method(
    method_class: type[Method], task: Task, options: dict[str, Any], seed: int
) -> Method:
    """A method whose throw-away layers follow from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return method_class(task, **options)


def start(
    root: Path, kind: str, prepared: Prepared, name: str | None, watch: Watch | None = None
) -> Generator[Event, None, Run]:
    """Makes a run folder and trains in it; the generator's return value is the Run.

    First it says what each cache holds, and how good its teacher is.
    """
    settings = prepared.settings
    for cache in prepared.caches:
        yield from teacher_caches.introduce(cache, type(prepared.method))
    label = f"{settings.method}-{settings.model}"
    run = runs.create(root, kind, label, settings.as_json(), name)
    run.update(
        environment=environment(prepared.device),
        data=_data_record(prepared.data),
        parents=[_parent(cache) for cache in prepared.caches],
        seconds=0.0,
    )
    return (yield from _fit(run, prepared, watch or Watch()))


def resume(
    run: Run, progress: Progress | None = None, watch: Watch | None = None
) -> Generator[Event, None, Run]:
    """Goes on with an unfinished run from its last state, or from the start where it has none."""
    prepared = prepare(TrainSettings.from_json(run.settings), progress)
    if run.record["data"]["train"] != prepared.data.train.fingerprint:
        raise DataMismatch(
            f"The training images of {run.name} are not what they were when it began.",
            f"ltkd {run.kind}, for a new run",
        )
    return (yield from _fit(run, prepared, watch or Watch()))


def environment(device: torch.device) -> dict[str, str]:
    """Versions and machine that a result may depend on."""
    return {
        "ltkd": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": devices.describe(device),
    }


def _fit(run: Run, prepared: Prepared, watch: Watch) -> Generator[Event, None, Run]:
    """Trains in the folder of a run, which knows at any moment whether it can go on."""
    with run.held(), stop_requests() as stop:
        run.update(status="running")
        try:
            yield from _train(run, prepared, watch, stop)
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
            size = prepared.settings.recipe.batch_size
            raise LtkdError(
                f"{run.name} needs more memory than the GPU has, in batches of {size} images.",
                f"the same command with --batch-size {size // 2} --accumulate 2",
            ) from None
        except OSError as error:
            raise RunError(
                f"{run.path} cannot be written: {error.strerror}.", run.resume_command
            ) from error
    return run


def _train(run: Run, prepared: Prepared, watch: Watch, stop: Callable[[], bool]) -> Iterator[Event]:
    settings = prepared.settings
    torch.manual_seed(settings.seed)  # for dropout, in whatever state the process was
    training = begin(prepared.network, prepared.method, settings.recipe, prepared.device)
    if run.state.exists():
        load_state(training, run.state)
        yield Note(f"{run.name}: going on after epoch {training.epoch}, batch {training.batch}")
    else:
        yield Note(f"{run.name}: {_in_words(prepared)}")
    run.keep_metrics_to(training.epoch)
    keeper = _Keeper(run, training)
    feed = open_feed(
        prepared.data.train,
        prepared.policy,
        prepared.caches,
        prepared.method.needs,
        prepared.device,
        members=_members(settings, prepared.data),
        jitter_seed=settings.seed if settings.augment == "jitter" else None,
    )
    events = train(training, feed, settings.recipe, settings.seed, settings.precision, stop)
    watched = profiled(events, run.path / "trace.json") if watch.profile else events
    with _event_files(run, training, watch) as log:
        yield from _epochs(run, prepared, training, watched, keeper, log)
    if training.epoch < settings.recipe.epochs:
        keeper.keep()
        run.update(status="interrupted")
        raise Interrupted(
            f"{run.name} is in epoch {training.epoch + 1} of {settings.recipe.epochs}; "
            "nothing is lost.",
            run.resume_command,
        )
    _finish(run, prepared, training, keeper)


def _epochs(
    run: Run,
    prepared: Prepared,
    training: Training,
    events: Iterator[Event],
    keeper: _Keeper,
    log: Log,
) -> Iterator[Event]:
    settings = prepared.settings
    for event in events:
        yield event
        if isinstance(event, EpochEnd):
            record: dict[str, Any] = dataclasses.asdict(event)
            last = event.epoch == settings.recipe.epochs
            if settings.evaluate_every and event.epoch % settings.evaluate_every == 0 and not last:
                accuracy = _score(prepared, training, settings.precision).accuracies()
                record["test"] = accuracy
                yield Checked(event.epoch, accuracy)
            run.log(record)
            log(record)
            keeper.keep_if_due(at_once=last)


def _event_files(run: Run, training: Training, watch: Watch) -> AbstractContextManager[Log]:
    if not watch.tensorboard:
        return nullcontext(lambda record: None)
    return event_files(run.path / "tensorboard", training.epoch + 1)


def _check_group(settings: TrainSettings, data: Data) -> None:
    if settings.classes != "all" and not data.groups.classes(settings.classes):
        raise UsageError(
            f"{data.name} has no {settings.classes} classes ({data.groups.describe()}).",
            "--groups rank",
        )


def _members(settings: TrainSettings, data: Data) -> torch.Tensor | None:
    """Rows of the group that an expert is trained on; None for everyone else."""
    group = settings.classes
    if group == "all":
        return None
    wanted = torch.tensor(data.groups.classes(group))
    return torch.nonzero(torch.isin(data.train.labels, wanted)).flatten()


class _Keeper:
    """Writes the training state into the run folder from time to time, with the seconds spent."""

    def __init__(self, run: Run, training: Training) -> None:
        self.run, self.training = run, training
        self.before: float = run.record["seconds"]
        self.began = self.kept = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Spent on the run so far, over all its parts."""
        return self.before + time.perf_counter() - self.began

    def keep_if_due(self, at_once: bool) -> None:
        if at_once or time.perf_counter() - self.kept > SECONDS_BETWEEN_STATES:
            self.keep()

    def keep(self) -> None:
        save_state(self.training, self.run.state)
        self.run.update(seconds=round(self.seconds, 2))
        self.kept = time.perf_counter()


def _finish(run: Run, prepared: Prepared, training: Training, keeper: _Keeper) -> None:
    network = training.final_network
    models.save(network, run.weights)
    scores = _score(prepared, training, "float32")
    counts = prepared.data.train.class_counts()
    evaluate.write_per_class(run.per_class, scores)
    run.update(
        status="done",
        weights_sha256=models.weights_sha256(run.weights),
        parameters=models.describe(network).parameters,
        train_images=sum(counts),
        scores=scores.as_dict(),
        seconds=round(keeper.seconds, 2),
    )
    run.state.unlink(missing_ok=True)


def _score(prepared: Prepared, training: Training, precision: str) -> evaluate.Scores:
    return score_on_test(training.final_network, prepared.data, prepared.device, precision)


def _policy(settings: TrainSettings, data: Data) -> ViewPolicy:
    return ViewPolicy(settings.views or data.views, settings.view_seed)


def _network(
    settings: TrainSettings, data: Data, method: type[Method], caches: tuple[Cache, ...]
) -> Network:
    """The student, with the head and the projection that its method asks for."""
    spec = ModelSpec(
        name=settings.model,
        classes=len(data.train.class_names),
        head=settings.head or method.head,
        mean=data.mean,
        std=data.std,
        pretrained=settings.pretrained,
    )
    network = models.build(spec, settings.seed)
    widths = tuple(cache.layout.width for cache in caches)
    projection = method.projection(network.width, widths) if caches else 0
    if projection:
        network = models.build(dataclasses.replace(spec, projection=projection), settings.seed)
    return network


def _task(
    settings: TrainSettings,
    data: Data,
    method: type[Method],
    caches: tuple[Cache, ...],
    student_width: int,
) -> Task:
    members, labels = _members(settings, data), data.train.labels
    trained_on = labels if members is None else labels[members]
    return Task(
        class_counts=torch.bincount(trained_on, minlength=len(data.train.class_names)),
        labels=data.train.labels,
        groups=data.groups,
        student_width=student_width,
        teachers=tuple(teacher_caches.teacher_of(cache) for cache in caches),
        seed=settings.seed,
    )


def _data_record(data: Data) -> dict[str, Any]:
    return {
        "name": data.name,
        "train": data.train.fingerprint,
        "test": data.test.fingerprint,
        "test_split": data.test.split,
        "class_names": list(data.train.class_names),
        "class_counts": data.train.class_counts(),
        "groups": dataclasses.asdict(data.groups),
    }


def _parent(cache: Cache) -> dict[str, Any]:
    names = (
        "fingerprint",
        "teacher_run",
        "teacher_sha256",
        "teacher_method",
        "view_policy",
        "view_seed",
    )
    return {
        "kind": "cache",
        "path": str(cache.path),
        "crc_sha256": hashlib.sha256(cache.tensor("crc").numpy().tobytes()).hexdigest(),
        "teacher_model": cache.attributes["teacher_model"]["name"],
        "views_per_image": teacher_caches.views_per_image(cache)[0],
        **{name: cache.attributes[name] for name in names},
    }


def _in_words(prepared: Prepared) -> str:
    settings, data = prepared.settings, prepared.data
    return (
        f"{settings.model} by {settings.method} on {data.name} ({len(data.train.labels):,} images, "
        f"{len(data.train.class_names)} classes), recipe {settings.recipe_name}, "
        f"epochs {settings.recipe.epochs}, seed {settings.seed}, {settings.precision} on "
        f"{devices.describe(prepared.device)}"
    )
