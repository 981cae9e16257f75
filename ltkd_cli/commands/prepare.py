"""From settings to everything a training needs, checked, before a run folder is made."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .. import devices, models
from ..cache import Cache
from ..data import Data, load
from ..data.decoded import Progress
from ..errors import MethodError, UsageError
from ..methods.contract import Method, Task
from ..methods.finding import find
from ..models import ModelSpec, Network
from ..views.policy import ViewPolicy
from . import caches as teacher_caches
from .settings import TrainSettings


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
    device = devices.open_device(settings.device)
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
        teacher_caches.check(cache, data, method_class)
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


def _check_group(settings: TrainSettings, data: Data) -> None:
    if settings.classes != "all" and not data.groups.classes(settings.classes):
        raise UsageError(
            f"{data.name} has no {settings.classes} classes ({data.groups.describe()}).",
            "--groups rank",
        )


def members_of(settings: TrainSettings, data: Data) -> torch.Tensor | None:
    """Rows of the group that an expert is trained on; None for everyone else."""
    group = settings.classes
    if group == "all":
        return None
    wanted = torch.tensor(data.groups.classes(group))
    return torch.nonzero(torch.isin(data.train.labels, wanted)).flatten()


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
    members, labels = members_of(settings, data), data.train.labels
    trained_on = labels if members is None else labels[members]
    return Task(
        class_counts=torch.bincount(trained_on, minlength=len(data.train.class_names)),
        labels=data.train.labels,
        groups=data.groups,
        student_width=student_width,
        teachers=tuple(teacher_caches.teacher_of(cache) for cache in caches),
        seed=settings.seed,
    )
