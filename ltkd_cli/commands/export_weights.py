"""`export-logits --weights FILE`: a teacher that is no run, but a network with its own weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import devices, models
from ..cache.again import image_options
from ..data import Data, DataSpec
from ..data.decoded import Progress
from ..errors import DataMismatch
from ..events import Event, TeacherScored
from ..inference import evaluate
from ..metrics import Scores
from ..models.spec import Channels
from ..models.weights import Weights, fetch, read, whole_network
from ..views.policy import Policy
from .caches import UNKNOWN
from .checks import refuse_chance
from .export import (
    ExportSettings,
    check_settings,
    layout_of,
    policy_and_views,
    slug,
    write,
)
from .images import load_checked
from .initial import introduce, normalisation
from .provenance import about_images
from .settings import with_images

MAX_NAME = 60
"""Letters of a network and a file in the name of a cache."""


@dataclass(frozen=True)
class WeightSource:
    """Where a network's weights come from: a file, or its zoo."""

    model: str
    """Empty where a file of ltkd's says so itself."""
    file: Path | None = None
    statistics: tuple[Channels, Channels] | None = None
    """Mean and std of the images that they were trained with, where they are not the usual ones."""

    def weights(self) -> Weights:
        """The weights themselves; errors as for `models.weights.read` and `fetch`."""
        found = fetch(self.model) if self.file is None else read(self.file, self.model)
        return found.normalised(*self.statistics) if self.statistics else found


def export_weights(
    source: WeightSource,
    images: dict[str, Any],
    settings: ExportSettings,
    progress: Progress | None = None,
) -> Generator[Event, None, Path]:
    """Writes the cache of a network with its own weights and head; the return value is its path.

    `images` are fields of a DataSpec. Besides the errors of `export_logits`: DataMismatch where
    the head is for other classes, CheckpointError for weights that are not of this network.
    """
    check_settings(settings)
    device = devices.open_device(settings.device)
    precision = devices.choose_precision(settings.precision, device)
    weights = source.weights()
    yield from introduce(weights, with_head=True)
    spec = with_images(DataSpec(), images)
    asked = [*image_options(dataclasses.asdict(spec))]
    weights.require_head(asked)
    data = yield from load_checked(
        spec, progress, lambda names, of: _check_classes(weights, len(names), of, asked)
    )
    network = whole_network(weights, data.mean, data.std, asked).to(device)
    yield from normalisation(weights, network.spec)
    policy, views = policy_and_views(data.views, settings)
    path = settings.output or Path(_name(weights, policy, views))
    layout = layout_of(data, views, network.width if settings.features else 0, settings.dtype)
    counts = data.train.class_counts()
    scores = evaluate(network, data.test, data.groups, counts, device, policy=policy)
    yield TeacherScored(weights.source, data.test.split, scores.accuracies())
    yield from refuse_chance(
        weights.source, scores.as_dict(), len(counts),
        "are its outputs in the order of the classes? To insist: --force", settings.replace,
    )  # fmt: skip
    attributes = _attributes(weights, data, network, policy, scores, (device.type, precision))
    cache = path, layout, attributes
    return (yield from write(network, data, policy, cache, settings.replace, weights.source))


def _check_classes(
    weights: Weights, wanted: int, image_set: str, images: Sequence[str]
) -> Iterator[Event]:
    """DataMismatch unless the head is for as many classes as the images have."""
    if weights.classes != wanted:
        remark = f"for a new head, or give weights whose head has {wanted:,} classes"
        raise DataMismatch(
            f"The head of {weights.source} is for {weights.classes:,} classes, and {image_set} has "
            f"{wanted:,}.",
            weights.own_head(images, remark),
        )
    return iter(())


def _name(weights: Weights, policy: Policy, views: int) -> str:
    """The name of a cache that belongs to no run: network, file, policy and views."""
    stem = "pretrained" if weights.source == weights.model else Path(weights.source).stem
    parts = f"{weights.model.rpartition('/')[2]}-{stem}"[:MAX_NAME]
    plain = "".join(letter if letter.isalnum() or letter in "._" else "-" for letter in parts)
    return f"cache-{plain}-{slug(policy)}-{views}.h5"


def _attributes(
    weights: Weights,
    data: Data,
    network: models.Network,
    policy: Policy,
    scores: Scores,
    computed: tuple[str, str],
) -> dict[str, Any]:
    """All that the cache says; `computed` are device and precision."""
    spec = dataclasses.asdict(network.spec)
    return {
        **about_images(data, policy, data.test),
        "teacher_run": "",
        "teacher_sha256": weights.sha256,
        "teacher_model": spec,
        "teacher_method": UNKNOWN,
        "teacher_weights": weights.record(),
        "teacher_classes": [],
        "teacher_recipe": {},
        "teacher_setting": {"weights": weights.sha256, "part": weights.matched.part, "model": spec},
        "teacher_scores": scores.as_dict(),
        "autocast": computed[1],
        "device": computed[0],
    }
