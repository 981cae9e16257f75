"""A frozen backbone: its features once for each view, in the run's folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import torch

from ..cache import Cache, CacheWriter, Layout
from ..data import ImageSet
from ..errors import CacheError, CacheMismatch, Interrupted
from ..events import Event, Note
from ..inference import export
from ..models import Network
from ..models.backbone import Backbone
from ..runs import Run
from ..training import residency
from ..training.features import FeatureLoader, FeatureSource, stored
from .export import is_there
from .initial import is_frozen
from .prepare import Prepared, trained_rows
from .settings import Settings

FEATURES = "features.hdf5"
"""Name of a run's features; it ends otherwise than a cache that students may find."""


def open_features(
    run: Run, prepared: Prepared, stop: Callable[[], bool]
) -> Generator[Event, None, FeatureLoader]:
    """What the head is trained on; the backbone computes first what the run's folder still lacks.

    Raises Interrupted when `stop()` and features are missing, CacheMismatch where the file in the
    folder is of another run, and what a cache raises.
    """
    settings, images, device = prepared.settings, prepared.data.train, prepared.device
    path, views = run.path / FEATURES, settings.feature_views or 1
    layout = _layout(images, views, prepared.network.width)
    attributes = _attributes(run, prepared)
    if not _is_complete(path, layout, attributes):
        yield Note(
            f"{run.name}: features of {len(images.labels):,} images by the frozen backbone, views "
            f"of each: {views}"
        )
        yield from _compute(path, layout, attributes, prepared, run, stop)
    cache = Cache.open(path)
    size = layout.stored()["features"].size
    kept = device.type != "cpu" and residency.is_resident(
        settings.resident, size, residency.SPARE, residency.free_bytes(device)
    )
    source = stored(cache, images.labels, views, device if kept else None)
    subset = trained_rows(settings, prepared.data)
    return FeatureLoader(source, device, subset, size if kept else 0)


def features_of(run: Run, images: ImageSet, views: int) -> FeatureSource | None:
    """The stored features of a run with a frozen backbone; None where there are none that fit."""
    settings = Settings.of(run)
    path = run.path / FEATURES
    if not (
        is_frozen(settings) and os.path.lexists(path) and views <= (settings.feature_views or 0)
    ):
        return None
    cache = Cache.open(path)
    known = cache.attributes.get("run") == run.identity
    if not known or not images.matches(cache.attributes["fingerprint"]):
        return None
    return stored(cache, images.labels, views)


def _layout(images: ImageSet, views: int, width: int) -> Layout:
    """Features alone: a backbone knows no classes, so one class stands for all images."""
    return Layout.even(np.zeros(len(images.labels), np.int64), 1, views, width, "float32")


def _attributes(run: Run, prepared: Prepared) -> dict[str, Any]:
    policy, images = prepared.policy, prepared.data.train
    return {
        "image_set": prepared.data.name,
        "fingerprint": images.fingerprint,
        "class_names": ["all"],
        "class_counts": [len(images.labels)],
        "run": run.identity,
        "policy": policy.as_json(),
        "autocast": prepared.settings.precision,
        "device": prepared.device.type,
    }


def _is_complete(path: Path, layout: Layout, attributes: dict[str, Any]) -> bool:
    try:
        return is_there(path, layout, attributes)
    except CacheMismatch as error:
        remove = f"rm -- {quote(str(path))}"
        raise CacheMismatch(error.problem, remove) from None


def _compute(
    path: Path,
    layout: Layout,
    attributes: dict[str, Any],
    prepared: Prepared,
    run: Run,
    stop: Callable[[], bool],
) -> Generator[Event, None, None]:
    network, images = _without_head(prepared.network), prepared.data.train
    precision = prepared.settings.precision
    with _writer(path, layout, attributes, run) as writer:
        for event in export(network, images, prepared.policy, writer, prepared.device, precision):
            yield event
            if stop() and event.done < event.total:
                raise Interrupted(
                    f"{run.name} has the features of {event.done:,} of {event.total:,} views; "
                    "nothing is lost.",
                    run.resume_command,
                )
        writer.finish()


@contextmanager
def _writer(
    path: Path, layout: Layout, attributes: dict[str, Any], run: Run
) -> Iterator[CacheWriter]:
    """A writer of the file, whose errors advise to go on with the run."""
    try:
        with CacheWriter(path, layout, attributes) as writer:
            yield writer
    except CacheError as error:
        if type(error) is not CacheError:  # damage, for instance
            raise
        raise CacheError(error.problem, run.resume_command) from error


def _without_head(network: Network) -> Network:
    """The same backbone below a head of one class whose logits are 0."""
    parts = Backbone(network.backbone, network.width, network.minimum, network.exact)
    spec = replace(network.spec, classes=1, head="linear", projection=0)
    bare = Network(spec, parts).to(network.head.weight.device)
    for parameter in bare.head.parameters():
        torch.nn.init.zeros_(parameter)
    return bare
