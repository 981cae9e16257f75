"""Training on features that were computed before: what the loop reads for a frozen backbone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import starmap

import torch
from torch import Tensor

from ..cache import Cache
from ..methods.contract import Batch
from ..views.draws import send
from ..views.reader import Request
from .sampling import SampledViews, batches_of, draw_epoch

_FEATURES = frozenset({"features"})


@dataclass(frozen=True)
class FeatureSource:
    """Training images by their features."""

    labels: Tensor
    """int64 [N], on the CPU."""
    views: int | None
    """Views of every image that there are; None for any number."""
    of: Callable[[Sequence[Request]], Iterator[Tensor]]
    """Features [B, D] of the views of each request in turn, on some device."""
    file: Cache | None = None
    """Where they lie; None for those that are computed."""

    def check_unchanged(self) -> None:
        """Raises CacheDamaged where that file was changed since it was opened."""
        if self.file:
            self.file.check_unchanged()


def stored(
    cache: Cache, labels: Tensor, views: int, device: torch.device | None = None
) -> FeatureSource:
    """Features in a cache with so many views of each image; with a device, all kept there.

    `labels` int64 [N] are those of the rows. Errors as for `Cache.read`.
    """
    if device is None:
        return each(labels, views, lambda rows, views: _read(cache, rows, views), cache)
    held, first = cache.tensor("features", device), cache.views_of(torch.arange(len(labels)))[0]
    return each(labels, views, lambda rows, views: held[send(first[rows] + views, device)], cache)


def each(
    labels: Tensor,
    views: int | None,
    of: Callable[[Tensor, Tensor], Tensor],
    file: Cache | None = None,
) -> FeatureSource:
    """A source of features that are there: `of` gives those of views of rows, int64 [B] both."""
    return FeatureSource(labels, views, lambda requests: starmap(of, requests), file)


@dataclass(frozen=True)
class FeatureLoader:
    """Batches of features in place of images; otherwise as Loader."""

    source: FeatureSource
    device: torch.device
    subset: Tensor | None = None
    """Rows to train on, int64 on the CPU; None for all."""
    bytes_on_gpu: int = 0
    """Size of the features that are kept on a GPU."""

    def sample_epoch(self, sampler: str, seed: int, epoch: int) -> SampledViews:
        """Rows and views of an epoch, limited to the views that are stored."""
        labels, views = self.source.labels, self.source.views
        counts = None if views is None else torch.full_like(labels, views)
        return draw_epoch(labels, sampler, seed, epoch, counts, self.subset)

    def check_unchanged(self) -> None:
        """Raises CacheDamaged where the file of the features was changed since it was opened."""
        self.source.check_unchanged()

    def batches(
        self, sampled: SampledViews, batch_size: int, start: int, epoch: int, epochs: int
    ) -> Iterator[tuple[Tensor, Batch]]:
        """Features float [B, D] on the device and their batch, from batch `start` on."""
        requests = requests_of(sampled, batch_size)
        steps, requests = len(requests), requests[start:]
        features = self.source.of(requests)
        for step, (rows, _) in enumerate(requests, start):
            done = torch.tensor((epoch * steps + step) / (steps * epochs), dtype=torch.float64)
            labels = send(self.source.labels[rows], self.device)
            batch = Batch(labels, send(rows, self.device), (), send(done, self.device))
            yield send(next(features), self.device), batch


def requests_of(sampled: SampledViews, size: int) -> list[Request]:
    """The views of an epoch in its batches; see `batches_of` for how many those are."""
    steps = range(batches_of(len(sampled.rows), size))
    parts = [slice(step * size, (step + 1) * size) for step in steps]
    return [Request(sampled.rows[part], sampled.views[part]) for part in parts]


def _read(cache: Cache, rows: Tensor, views: Tensor) -> Tensor:
    return cache.read(rows, views, _FEATURES)["features"]
