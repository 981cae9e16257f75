"""What a second stage sees: features of training images, and of images to validate on."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data import Data, ImageSet
from ..events import Computed, Event, Note
from ..inference import BATCH
from ..models import Network
from ..rebalancing.posthoc import validation_images, validation_rows
from ..rebalancing.strategies import TRAINED, Seen
from ..runs import Run
from ..views.policy import ViewPolicy, to_float, view


@dataclass(frozen=True)
class Source:
    """A finished run, opened."""

    run: Run
    data: Data
    network: Network
    policy: ViewPolicy
    device: torch.device

    @property
    def seed(self) -> int:
        return int(self.run.settings["seed"])


def look(
    source: Source, how: str, per_class: int | None, views: int
) -> Generator[Event, None, tuple[Seen, Seen]]:
    """What the second stage learns or chooses from, and what it is validated on.

    Held-out images are seen clean, as the test images are; where there are none,
    training images stand in, in several views, `per_class` of each class where that is given.
    """
    train, held_out = source.data.train, source.data.validation
    everything = torch.arange(len(train.labels))
    if held_out is not None:
        yield Note(_what_it_learns_from(source, how, len(held_out.labels)))
        rows = torch.arange(len(held_out.labels))
        validation = yield from _seen(source, held_out, rows, 1)
        if how not in TRAINED:
            return validation, validation
        return (yield from _seen(source, train, everything, views)), validation
    per_class = per_class or validation_images(source.network.spec.classes, views)
    held = validation_rows(train.labels, per_class, source.seed)
    yield Note(_catch(source, how, len(held), views))
    if how not in TRAINED:
        validation = yield from _seen(source, train, held, views)
        return validation, validation
    seen = yield from _seen(source, train, everything, views)
    return seen, seen.of(held)


def _what_it_learns_from(source: Source, how: str, images: int) -> str:
    name, held_out = source.run.name, f"validated on {images:,} images that were held out"
    if how in TRAINED:
        rows = len(source.data.train.labels)
        return f"{name}: {how} on the features of {rows:,} training images, {held_out}."
    return f"{name}: {how}, {held_out}."


def _catch(source: Source, how: str, images: int, views: int) -> str:
    """What the validation is without held-out images, and why its accuracy is too high."""
    name, seen = source.run.name, f"{images:,} training images, {views} views each"
    if how in TRAINED:
        rows = len(source.data.train.labels)
        return (
            f"{name}: {how} on the features of all {rows:,} training images, for a fixed "
            f"number of epochs; the validation accuracy, on {seen}, is therefore optimistic."
        )
    return (
        f"{name}: {how}, validated on {seen}; the network was trained on these images, so "
        "its accuracy there is optimistic (`--validation 20` of teach and distill holds some out)."
    )


def _seen(
    source: Source, images: ImageSet, rows: Tensor, views: int
) -> Generator[Event, None, Seen]:
    """Features [R, V, D] of the first V views of rows [R], float32 on the CPU, with labels."""
    features = yield from _features(source, images, rows, views)
    return Seen(features, images.labels[rows])


def _features(
    source: Source, image_set: ImageSet, rows: Tensor, views: int
) -> Generator[Event, None, Tensor]:
    network, images = source.network, image_set.images
    found = torch.empty(len(rows), views, network.width)
    numbers = torch.arange(views, device=source.device)
    for places in torch.split(torch.arange(len(rows)), max(1, BATCH // views)):
        own = rows[places]
        pixels = images.gather(own).to(source.device).repeat_interleave(views, 0)
        repeated = own.to(source.device).repeat_interleave(views)
        seen = view(pixels, repeated, numbers.repeat(len(own)), source.policy)
        with torch.inference_mode():
            features = network(to_float(seen))["features"]
        found[places] = features.reshape(len(own), views, -1).cpu()
        yield Computed((int(places[-1]) + 1) * views, len(rows) * views)
    return found
