"""`export-logits`: a teacher's outputs for many views of every training image, into one cache."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from .. import devices, models
from ..cache import CacheWriter, Layout
from ..cache.layout import LogitsType
from ..data import Data, load
from ..data.decoded import Progress
from ..data.view import POLICIES, VIEW_VERSION, ViewPolicy
from ..errors import DataMismatch, Interrupted, UsageError
from ..events import Caution, Event, Note
from ..export import export
from ..interrupts import stop_requests
from ..runs import Run
from .settings import TrainSettings
from .testing import score_on_test


@dataclass(frozen=True)
class ExportSettings:
    """What to export from a teacher's run, and where to."""

    output: Path | None
    """Default: a file in the teacher's run folder, named after views and policy."""
    views: int = 16
    policy: str | None = None
    """Default: the policy that the teacher was trained with."""
    view_seed: int = 0
    features: bool = True
    dtype: str = "float16"
    precision: str = "float32"
    device: str = "auto"
    replace: bool = False


def export_logits(
    run: Run, images: dict[str, Any], settings: ExportSettings, progress: Progress | None = None
) -> Generator[Event, None, Path]:
    """Writes the cache of a teacher's run, or goes on with it; the return value is its path.

    `images` replaces fields of the run's own DataSpec.
    """
    device = devices.choose_device(settings.device)
    precision = devices.choose_precision(settings.precision, device)
    spec = TrainSettings.from_json(run.settings).data
    data = load(dataclasses.replace(spec, **images), progress)
    if data.train.fingerprint != run.record["data"]["train"]:
        yield Caution(
            f"{run.name} was trained on other images than the {data.name} exported here; "
            "its answers are honest only for images of its own classes."
        )
    network = models.load(run.weights).to(device)
    if network.spec.classes != len(data.train.class_names):
        raise DataMismatch(
            f"{run.name} knows {network.spec.classes} classes, and {data.name} has "
            f"{len(data.train.class_names)}.",
            "ltkd teach, on this data set",
        )
    policy = _policy(run, settings)
    path = settings.output or run.path / f"cache-{policy.name}-{settings.views}.h5"
    layout = _layout(data, network.width if settings.features else 0, settings)
    attributes = _attributes(run, data, network, policy, device.type, precision)
    if not run.record.get("scores"):
        attributes["teacher_scores"] = score_on_test(network, data, device).as_dict()
    yield Note(
        f"{path}: {run.name}'s outputs for {settings.views} views of {len(data.train.labels):,} "
        f"images of {data.name}, {precision} on {devices.describe(device)}"
    )
    with CacheWriter(path, layout, attributes, replace=settings.replace) as writer:
        with stop_requests() as stop:
            for event in export(network, data.train, policy, writer, device, precision):
                yield event
                if stop() and event.done < event.total:
                    raise Interrupted(
                        f"{path} stopped at {event.done:,} of {event.total:,} entries; nothing "
                        "is lost.",
                        "ltkd export-logits, with the same options",
                    )
        writer.finish()
    return path


def _policy(run: Run, settings: ExportSettings) -> ViewPolicy:
    name = settings.policy or run.settings["views"]
    if name not in POLICIES:
        raise UsageError(
            f"There is no view policy {name!r}; there are {', '.join(POLICIES)}.",
            "--policy crop-flip",
        )
    if settings.views < 1:
        raise UsageError("--views must be at least 1.", "--views 16")
    if name == "none" and settings.views > 1:
        raise UsageError(
            f"Policy none has one view of an image, not {settings.views}.", "--views 1"
        )
    return ViewPolicy(name, settings.view_seed)


def _layout(data: Data, width: int, settings: ExportSettings) -> Layout:
    if settings.dtype not in get_args(LogitsType):
        raise UsageError(
            f"Logits are stored as {', '.join(get_args(LogitsType))}, not as {settings.dtype!r}.",
            "--dtype float16",
        )
    dtype = cast(LogitsType, settings.dtype)
    labels, classes = data.train.labels.numpy(), len(data.train.class_names)
    return Layout.even(labels, classes, settings.views, width, dtype)


def _attributes(
    run: Run,
    data: Data,
    network: models.Network,
    policy: ViewPolicy,
    device: str,
    precision: str,
) -> dict[str, Any]:
    return {
        "image_set": data.name,
        "fingerprint": data.train.fingerprint,
        "class_names": list(data.train.class_names),
        "class_counts": data.train.class_counts(),
        "data_spec": dataclasses.asdict(data.spec),
        "groups": dataclasses.asdict(data.groups),
        "view_policy": policy.name,
        "view_seed": policy.seed,
        "view_version": VIEW_VERSION,
        "teacher_run": run.name,
        "teacher_sha256": models.weights_sha256(run.weights),
        "teacher_model": dataclasses.asdict(network.spec),
        "teacher_method": run.settings["method"],
        "teacher_classes": [],
        "teacher_recipe": run.settings["recipe"],
        "teacher_scores": run.record["scores"],
        "autocast": precision,
        "device": device,
        "mix": "none",
    }
