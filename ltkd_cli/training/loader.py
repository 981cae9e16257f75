"""What the training loop eats: views of images, with the teachers' answers to the same views."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

from ..cache import Cache
from ..data import Images, ImageSet
from ..methods.contract import Batch
from ..outputs import Outputs
from ..views.jitter import jitter
from ..views.policy import ViewPolicy, to_float, view
from .sampling import Draws, batches_of, draw_epoch

Item = TypeVar("Item")

_BATCHES_AHEAD = 4  # decoded while the network works, where images come from files


@dataclass(frozen=True)
class Loader:
    """Training data on a device: pixels, labels and the teachers' answers.

    Images and answers that fit are on the device already; then no batch touches the host.
    """

    image_set: ImageSet
    policy: ViewPolicy
    caches: tuple[Cache, ...]
    needs: frozenset[str]
    device: torch.device
    pixels: Tensor | None
    """uint8 [N, 3, H, W] on the device; None where images are gathered on the host."""
    labels: Tensor
    """int64 [N] on the device."""
    answers: tuple[Outputs | None, ...]
    """Each cache's datasets on the device; None where they are read from the host."""
    first: tuple[Tensor, ...]
    """Each cache's first entry of every row, int64 [N] on the device."""
    members: Tensor | None = None
    """Rows to train on, int64 on the CPU; None for all."""
    jitter_seed: int | None = None
    """Seed of the colours that a teacher sees; None leaves them as they are."""

    def draws(self, sampler: str, seed: int, epoch: int) -> Draws:
        """The draws of an epoch, limited to the views that every cache holds."""
        labels, views = self.image_set.labels, self._view_counts()
        if self.members is None:
            return draw_epoch(labels, sampler, seed, epoch, views)
        own_views = None if views is None else views[self.members]
        draws = draw_epoch(labels[self.members], sampler, seed, epoch, own_views)
        return Draws(self.members[draws.rows], draws.views)

    def batches(
        self, draws: Draws, batch_size: int, start: int, epoch: int, epochs: int
    ) -> Iterator[tuple[Tensor, Batch]]:
        """Images float [B, 3, H, W] in [0, 1] and their batch, from batch `start` on."""
        steps = batches_of(len(draws.rows), batch_size)
        on_device = Draws(self._to_device(draws.rows), self._to_device(draws.views))
        shares = torch.arange(steps, dtype=torch.float64) + epoch * steps
        progress = self._to_device(shares / (steps * epochs))

        def one(step: int) -> tuple[Tensor, Batch]:
            part = slice(step * batch_size, (step + 1) * batch_size)
            here, there = (Draws(d.rows[part], d.views[part]) for d in (draws, on_device))
            return self._batch(here, there, progress[step])

        numbers = iter(range(start, steps))
        if self.pixels is not None:
            return map(one, numbers)
        return _ahead(one, numbers)

    def _batch(self, here: Draws, there: Draws, progress: Tensor) -> tuple[Tensor, Batch]:
        """The batch of the same draws `here`, on the CPU, and `there`, on the device."""
        rows, views = there.rows, there.views
        if self.pixels is None:
            pixels = self._to_device(self.image_set.images.gather(here.rows))
        else:
            pixels = self.pixels[rows]
        images = to_float(view(pixels, rows, views, self.policy))
        if self.jitter_seed is not None:
            images = jitter(images, rows, views, self.jitter_seed)
        teachers = tuple(self._answers(k, here, there) for k in range(len(self.caches)))
        return images, Batch(self.labels[rows], rows, teachers, progress)

    def _answers(self, k: int, here: Draws, there: Draws) -> Outputs:
        held = self.answers[k]
        if held is None:
            said = self.caches[k].read(here.rows, here.views, self.needs)
            return {name: self._to_device(values) for name, values in said.items()}
        entries = self.first[k][there.rows] + there.views
        return {name: values[entries].float() for name, values in held.items()}

    def _view_counts(self) -> Tensor | None:
        if not self.caches:
            return None
        rows = torch.arange(len(self.image_set.labels))
        counts = [cache.views_of(rows)[1] for cache in self.caches]
        return torch.stack(counts).amin(0)

    def _to_device(self, values: Tensor) -> Tensor:
        if self.device.type == "cuda" and values.device.type == "cpu":
            return values.pin_memory().to(self.device, non_blocking=True)
        return values.to(self.device)


def open_loader(
    image_set: ImageSet,
    policy: ViewPolicy,
    caches: tuple[Cache, ...],
    needs: frozenset[str],
    device: torch.device,
    *,
    members: Tensor | None = None,
    jitter_seed: int | None = None,
) -> Loader:
    """A loader with everything on the device that fits into half of its free memory."""
    rows = torch.arange(len(image_set.labels))
    first = tuple(cache.views_of(rows)[0].to(device) for cache in caches)
    return Loader(
        image_set=image_set,
        policy=policy,
        caches=caches,
        needs=needs,
        device=device,
        pixels=_pixels(image_set.images, device),
        labels=image_set.labels.to(device),
        answers=tuple(_answers_on(cache, needs, device) for cache in caches),
        first=first,
        members=members,
        jitter_seed=jitter_seed,
    )


def _pixels(images: Images, device: torch.device) -> Tensor | None:
    if images.resident is None or not _fits(images.resident.nbytes, device):
        return None
    return images.resident.to(device)


def _answers_on(cache: Cache, needs: frozenset[str], device: torch.device) -> Outputs | None:
    """The cache's datasets on a GPU; on the CPU they stay in the page cache, shared by all."""
    if device.type == "cpu" or cache.layout.dtype == "uint8":
        return None
    stored = cache.layout.stored()
    if not _fits(sum(stored[name].size for name in needs), device):
        return None
    return {name: cache.tensor(name, device) for name in sorted(needs)}


def _fits(size: int, device: torch.device) -> bool:
    if device.type == "cpu":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return size < free / 2


def _ahead(make: Callable[[int], Item], numbers: Iterator[int]) -> Iterator[Item]:
    """make(n) for each number, in order, made a few ahead in a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(make, number) for number in islice(numbers, _BATCHES_AHEAD)]
        while waiting:
            item = waiting.pop(0).result()
            waiting.extend(pool.submit(make, number) for number in islice(numbers, 1))
            yield item
