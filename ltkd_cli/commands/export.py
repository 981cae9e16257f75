"""`export-logits`: a teacher's outputs for many views of every training image, into one cache."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import torch

from .. import devices, distributed, models
from ..cache import FORMAT, Cache, CacheWriter, Layout
from ..cache.attributes import as_read
from ..cache.container import is_hdf5
from ..cache.difference import lines, of_exports
from ..cache.layout import LogitsType
from ..data import Data
from ..data.decoded import Progress
from ..errors import CacheMismatch, Interrupted, UsageError
from ..events import Event, ExportBegins, Exported, Note, Warned
from ..inference import compute_along, evaluate, export
from ..runs import Run
from ..training.interrupts import stop_requests
from ..views.policy import Policy
from .checks import check_names, refuse_chance
from .identity import setting_of
from .images import chosen, load_checked
from .provenance import about_images
from .settings import DEFAULT_VIEWS, MAX_VIEWS, Settings

MAX_SLUG = 40
"""Letters of a policy in the name of a cache."""

CACHE_NAMES = (".h5", ".hdf5")
"""How the name of a cache may end."""


@dataclass(frozen=True)
class ExportSettings:
    """What to export from a teacher's run, and where to."""

    output: Path | None
    """Default: a file in the teacher's run folder, named after views and policy."""
    views: int | None = None
    """Default: 16, or 1 where the policy has no more."""
    policy: str | None = None
    """Default: the policy that the teacher was trained with."""
    view_seed: int = 0
    features: bool = True
    dtype: str = "float16"
    precision: str = "float32"
    device: str = "auto"
    replace: bool = False
    """Replaces an existing cache, and insists on a teacher that would be refused."""


def export_logits(
    run: Run, images: dict[str, Any], settings: ExportSettings, progress: Progress | None = None
) -> Generator[Event, None, Path]:
    """Writes the cache of a teacher's run, or goes on with it; the return value is its path.

    `images` replaces fields of the run's own DataSpec.
    """
    run.require_done()
    check_settings(settings)
    yield from map(Warned, run.warnings)
    device = devices.open_device(settings.device)
    precision = devices.choose_precision(settings.precision, device)
    trained = Settings.of(run)
    spec = chosen(trained.data, run.record["data"], images)
    data = yield from load_checked(
        spec, progress, lambda names, of: check_names(run, names, of, settings.replace)
    )
    if not data.train.matches(run.record["data"]["train"]):
        yield Warned(
            f"{run.name} was trained on other images than these of {data.name}; its outputs make "
            "sense only if the classes look alike."
        )
    network = models.load(run.weights, run.verified_weights()).to(device)
    policy, views = policy_and_views(trained.views, settings)
    path = settings.output or run.path / f"cache-{slug(policy)}-{views}.h5"
    layout = layout_of(data, views, network.width if settings.features else 0, settings.dtype)
    attributes = _attributes(run, data, network, policy, device, precision)
    if not attributes["teacher_classes"]:
        hint = "train it longer, or insist with --force"
        scores = attributes["teacher_scores"]
        yield from refuse_chance(run.name, scores, layout.classes, hint, settings.replace)
    cache = path, layout, attributes
    return (yield from write(network, data, policy, cache, settings.replace, run.name))


def write(
    network: torch.nn.Module,
    data: Data,
    policy: Policy,
    cache: tuple[Path, Layout, dict[str, Any]],
    replace: bool,
    teacher: str,
) -> Generator[Event, None, Path]:
    """Writes a cache of what a network computes, or goes on with it; returns its path.

    `cache` are its path, layout and attributes, of which the precision is one; `teacher` is what
    the network is called, which lies on its device. Without `replace`, the very same cache is
    left as it is, and another one of that name is a CacheMismatch.
    """
    path, layout, attributes = cache
    device = next(network.parameters()).device
    precision = attributes["autocast"]
    if distributed.rank():
        with stop_requests():  # the first process alone decides when all stop
            compute_along(network, data.train, policy, layout.width > 0, device, precision)
        distributed.barrier()
        return path
    check_target(path, replace=replace)
    if not replace and is_there(path, layout, attributes):
        yield Note(f"{path} exists already, with the same teacher, images, views and settings")
        distributed.shared([])  # there is nothing to compute
        distributed.barrier()
        return path
    yield ExportBegins(
        path=str(path),
        run=teacher,
        image_set=data.name,
        images=layout.rows,
        views=int(layout.first[1]),
        precision=precision,
        device=devices.describe(device),
    )
    yield from fill(
        path, layout, attributes, replace,
        lambda writer: export(network, data.train, policy, writer, device, precision),
    )  # fmt: skip
    distributed.barrier()
    return path


def fill(
    path: Path,
    layout: Layout,
    attributes: dict[str, Any],
    replace: bool,
    write: Callable[[CacheWriter], Iterator[Exported]],
) -> Iterator[Event]:
    """Makes the cache `path`, or goes on with it; `write` writes the entries that are missing."""
    with CacheWriter(path, layout, attributes, replace=replace) as writer:
        yield from map(Warned, writer.warnings)
        with stop_requests() as stop:
            for event in write(writer):
                yield event
                if stop() and event.done < event.total:
                    raise Interrupted(
                        f"{path} has {event.done:,} of {event.total:,} entries; nothing is lost."
                    )
        writer.finish()


def check_settings(settings: ExportSettings) -> None:
    """Raises UsageError for what no images could mend, before any are decoded."""
    if settings.dtype not in get_args(LogitsType):
        raise UsageError(
            f"Logits are stored as {', '.join(get_args(LogitsType))}, not as {settings.dtype!r}.",
            "--dtype float16",
        )
    if settings.views is not None and not 1 <= settings.views <= MAX_VIEWS:
        raise UsageError(f"--views must be from 1 to {MAX_VIEWS:,}.", f"--views {DEFAULT_VIEWS}")
    if settings.policy:
        Policy(settings.policy, settings.view_seed)
    if settings.output:
        check_target(settings.output, replace=settings.replace)


def policy_and_views(own: str, settings: ExportSettings) -> tuple[Policy, int]:
    """As asked for; `own` is the policy that the teacher was trained with."""
    policy = Policy(settings.policy or own, settings.view_seed)
    views = settings.views
    if views is None:
        views = DEFAULT_VIEWS if policy.has_views else 1
    if not policy.has_views and views > 1:
        raise UsageError(f"Policy none has one view of an image, not {views}.", "--views 1")
    return policy, views


def slug(policy: Policy) -> str:
    """The policy's name as a part of a file's name: short, of letters that mean nothing to a shell.

    Two policies may have the same; what is in the file tells them apart.
    """
    plain = re.sub(r"[^a-z0-9.]+", "-", policy.name)
    if len(plain) <= MAX_SLUG:
        return plain
    return f"{plain[:MAX_SLUG]}-{hashlib.sha256(policy.spec.encode()).hexdigest()[:8]}"


def check_target(path: Path, *, replace: bool) -> None:
    """UsageError where a cache cannot have that path, or would replace what is no cache."""
    if not os.path.lexists(path):
        return
    if path.is_dir():
        raise UsageError(f"--output takes a file, and {path} is a folder.", "--output cache.h5")
    if replace and path.suffix not in CACHE_NAMES and not is_hdf5(path):
        raise UsageError(f"--force replaces only caches, not {path}.", "--output cache.h5")


def is_there(path: Path, layout: Layout, attributes: dict[str, Any]) -> bool:
    """Whether this very cache exists; CacheMismatch where another one has its name."""
    if not os.path.lexists(path):
        return False
    found = Cache.open(path)
    wanted = as_read({**attributes, "format": FORMAT})
    wanted["device"] = found.attributes.get("device")  # who computed it does not matter here
    different = of_exports((found.layout, found.attributes), (layout, wanted))
    if different:
        raise CacheMismatch(
            f"{path} exists already, and is another cache:" + lines(different, "it", "this export"),
            "the same command with --force, to replace it, or with another --output",
        )
    return True


def layout_of(data: Data, views: int, width: int, dtype: str) -> Layout:
    labels, classes = data.train.labels.numpy(), len(data.train.class_names)
    return Layout.even(labels, classes, views, width, cast(LogitsType, dtype))


def _attributes(
    run: Run,
    data: Data,
    network: models.Network,
    policy: Policy,
    device: torch.device,
    precision: str,
) -> dict[str, Any]:
    return {
        **about_images(data, policy, data.test),
        "teacher_run": run.name,
        "teacher_sha256": run.record["weights_sha256"],
        "teacher_model": dataclasses.asdict(network.spec),
        "teacher_method": run.method,
        "teacher_classes": _classes(run),
        "teacher_recipe": run.settings["recipe"],
        "teacher_setting": setting_of(run),
        "teacher_scores": _scores(run, data, network, device),
        "autocast": precision,
        "device": device.type,
    }


def _scores(run: Run, data: Data, network: models.Network, device: torch.device) -> dict[str, Any]:
    """The run's own scores where they are about the same test images and groups, else new ones."""
    known = run.record["data"]
    groups = {"rule": data.groups.rule, "of_class": [*data.groups.of_class]}
    if data.test.matches(known["test"]) and groups == known["groups"]:
        scores: dict[str, Any] = run.record["scores"]
        return scores
    counts, policy = data.train.class_counts(), Policy(Settings.of(run).views)
    return evaluate(network, data.test, data.groups, counts, device, policy=policy).as_dict()


def _classes(run: Run) -> list[int]:
    """Classes that an expert was trained on; empty for a teacher of all classes."""
    group = Settings.of(run).classes
    if group == "all":
        return []
    of_class = run.record["data"]["groups"]["of_class"]
    return [number for number, own in enumerate(of_class) if own == group]
