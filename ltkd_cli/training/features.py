"""Training on features that were computed before: what the loop reads for a frozen backbone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..cache import Cache
from ..methods.contract import Batch
from ..views.draws import send
from .sampling import SampledViews, batches_of, draw_subset

_FEATURES = frozenset({"features"})


@dataclass(frozen=True)
class FeatureSource:
    """Training images by their features."""

    labels: Tensor
    """int64 [N], on the CPU."""
    views: int | None
    """Views of every image that there are; None for any number."""
    of: Callable[[Tensor, Tensor], Tensor]
    """Features [B, D] of the given views of rows, int64 [B] both, on some device."""


def stored(
    cache: Cache, labels: Tensor, views: int, device: torch.device | None = None
) -> FeatureSource:
    """Features in a cache with so many views of each image; with a device, all kept there.

    `labels` int64 [N] are those of the rows. Errors as for `Cache.read`.
    """
    if device is None:
        return FeatureSource(labels, views, lambda rows, views: _read(cache, rows, views))
    held, first = cache.tensor("features", device), cache.views_of(torch.arange(len(labels)))[0]
    return FeatureSource(labels, views, lambda rows, views: held[send(first[rows] + views, device)])


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
        return draw_subset(labels, sampler, seed, epoch, counts, self.subset)

    def batches(
        self, sampled: SampledViews, batch_size: int, start: int, epoch: int, epochs: int
    ) -> Iterator[tuple[Tensor, Batch]]:
        """Features float [B, D] on the device and their batch, from batch `start` on."""
        steps = batches_of(len(sampled.rows), batch_size)
        for step in range(start, steps):
            part = slice(step * batch_size, (step + 1) * batch_size)
            rows, views = sampled.rows[part], sampled.views[part]
            done = torch.tensor((epoch * steps + step) / (steps * epochs), dtype=torch.float64)
            labels = send(self.source.labels[rows], self.device)
            batch = Batch(labels, send(rows, self.device), (), send(done, self.device))
            yield send(self.source.of(rows, views), self.device), batch


def _read(cache: Cache, rows: Tensor, views: Tensor) -> Tensor:
    return cache.read(rows, views, _FEATURES)["features"]
