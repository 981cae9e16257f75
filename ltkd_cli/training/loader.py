"""What the training loop reads: views of images, with the teachers' outputs for the same views."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

from .. import distributed
from ..cache import Cache
from ..data import ImageSet
from ..methods.contract import Batch, Partners
from ..outputs import Outputs
from ..views.draws import send
from ..views.policy import Mixed, Policy, finish, render, to_float, view
from ..views.reader import Reader, Request
from ..views.steps.simclr_jitter import jitter
from .sampling import SampledViews, batches_of, draw_epoch

Item = TypeVar("Item")

_BATCHES_AHEAD = 4  # gathered while the network works, where images stay on the host


@dataclass(frozen=True)
class Loader:
    """Training data for a device: pixels, labels and the teachers' outputs.

    Where images and outputs are kept on the device, the host sends only the numbers of a view.
    """

    image_set: ImageSet
    policy: Policy
    caches: tuple[Cache, ...]
    needs: frozenset[str]
    device: torch.device
    pixels: Tensor | None
    """uint8 [N, 3, H, W] on the device; None where images are gathered or read on the host."""
    labels: Tensor
    """int64 [N] on the device."""
    outputs: tuple[Outputs | None, ...]
    """Each cache's datasets on the device; None where they are read on the host."""
    first: tuple[Tensor, ...]
    """Each cache's first entry of every row, int64 [N] on the device."""
    subset: Tensor | None = None
    """Rows to train on, int64 on the CPU; None for all."""
    jitter_seed: int | None = None
    """Seed of the colour jitter of a teacher's images; None for none."""
    reader: Reader | None = None
    """What reads images that are not kept as arrays of one size."""

    def sample_epoch(self, sampler: str, seed: int, epoch: int) -> SampledViews:
        """Rows and views of an epoch, limited to the views that every cache holds."""
        labels, views = self.image_set.labels, self._view_counts()
        return draw_epoch(labels, sampler, seed, epoch, views, self.subset)

    def check_unchanged(self) -> None:
        """Raises CacheDamaged where the file of a cache was changed since it was opened."""
        for cache in self.caches:
            cache.check_unchanged()

    def batches(
        self, sampled: SampledViews, batch_size: int, start: int, epoch: int, epochs: int
    ) -> Iterator[tuple[Tensor, Batch]]:
        """Images float [B, 3, H, W] in [0, 1] and their batch, from batch `start` on.

        Of each batch, one of several processes gets its own part.
        """
        steps = batches_of(len(sampled.rows), batch_size, distributed.size())
        on_device = SampledViews(self._to_device(sampled.rows), self._to_device(sampled.views))
        shares = torch.arange(steps, dtype=torch.float64) + epoch * steps
        progress = self._to_device(shares / (steps * epochs))

        def part_of(draws: SampledViews, step: int) -> SampledViews:
            part = slice(step * batch_size, (step + 1) * batch_size)
            return SampledViews(
                distributed.own(draws.rows[part]), distributed.own(draws.views[part])
            )

        hosts = [part_of(sampled, step) for step in range(start, steps)]
        frames = self._frames(hosts)

        def one(step: int) -> tuple[Tensor, Batch]:
            device = part_of(on_device, step)
            return self._batch(hosts[step - start], device, progress[step], next(frames, None))

        numbers = iter(range(start, steps))
        if self.pixels is not None:
            return map(one, numbers)
        return _ahead(one, numbers)

    @property
    def bytes_on_gpu(self) -> int:
        """Size of the images and outputs that are kept on a GPU; 0 on the CPU."""
        if self.device.type == "cpu":
            return 0
        kept = [self.pixels, *(value for held in self.outputs if held for value in held.values())]
        return sum(values.nbytes for values in kept if values is not None)

    def _frames(self, hosts: Sequence[SampledViews]) -> Iterator[Tensor]:
        """What the reader has for each batch; nothing where there is no reader."""
        if self.reader is None:
            return iter(())
        return self.reader.frames([Request(host.rows, host.views) for host in hosts])

    def _batch(
        self, host: SampledViews, device: SampledViews, progress: Tensor, frames: Tensor | None
    ) -> tuple[Tensor, Batch]:
        """The batch of the same rows and views, once on the host and once on the device."""
        rows, views = device.rows, device.views
        seen, partners = self._seen(host, rows, frames)
        images = to_float(seen)
        if self.jitter_seed is not None:
            images = jitter(images, rows, views, self.jitter_seed)
        teachers = tuple(self._outputs(k, host, device) for k in range(len(self.caches)))
        return images, Batch(self.labels[rows], rows, teachers, progress, partners)

    def _seen(
        self, host: SampledViews, rows: Tensor, frames: Tensor | None
    ) -> tuple[Tensor, Partners | None]:
        """The views uint8 [B, 3, H, W] of rows on the device, and with whom they are mixed."""
        if frames is None and not self.policy.is_mixed:
            pixels = self._gather(host.rows) if self.pixels is None else self.pixels[rows]
            return view(pixels, host.rows, host.views, self.policy), None
        seen = self._mixed(host, frames)
        if not self.policy.is_mixed:
            return seen.images, None
        others, shares = (self._to_device(part) for part in (seen.partner_rows, seen.shares))
        return seen.images, Partners(self.labels[others], others, shares)

    def _mixed(self, host: SampledViews, frames: Tensor | None) -> Mixed:
        """The views, some of them mixtures; from what the reader has, where there is one."""
        total = len(self.image_set.labels)
        if frames is None:
            return render(self._gather, host.rows, host.views, self.policy, total)
        return finish(self._to_device(frames), host.rows, host.views, self.policy, total)

    def _gather(self, rows: Tensor) -> Tensor:
        """Pixels on the device of rows on the host; there is a reader where they differ in size."""
        if self.pixels is not None:
            return self.pixels[self._to_device(rows)]
        found = self.image_set.images.gather(rows)
        assert isinstance(found, Tensor)
        return self._to_device(found)

    def _outputs(self, k: int, host: SampledViews, device: SampledViews) -> Outputs:
        """What cache `k` holds for the batch, float32 on the device."""
        held = self.outputs[k]
        if held is None:
            read = self.caches[k].read(host.rows, host.views, self.needs)
            return {name: self._to_device(values) for name, values in read.items()}
        entries = self.first[k][device.rows] + device.views
        return {name: values[entries].float() for name, values in held.items()}

    def _view_counts(self) -> Tensor | None:
        if not self.caches:
            return None
        rows = torch.arange(len(self.image_set.labels))
        counts = [cache.views_of(rows)[1] for cache in self.caches]
        return torch.stack(counts).amin(0)

    def _to_device(self, values: Tensor) -> Tensor:
        return send(values, self.device)


def open_loader(
    image_set: ImageSet,
    policy: Policy,
    caches: tuple[Cache, ...],
    needs: frozenset[str],
    device: torch.device,
    *,
    resident: bool = True,
    subset: Tensor | None = None,
    jitter_seed: int | None = None,
) -> Loader:
    """A loader for a device; with `resident`, one that keeps images and outputs on a GPU.

    On the CPU images are used where they are, and outputs stay in the page cache, which all
    processes share. So do images in files, and uint8 outputs, which are decoded on the host.
    """
    rows = torch.arange(len(image_set.labels))
    on_gpu = resident and device.type != "cpu"
    pixels = image_set.images.resident if on_gpu or device.type == "cpu" else None
    return Loader(
        image_set=image_set,
        policy=policy,
        caches=caches,
        needs=needs,
        device=device,
        pixels=None if pixels is None else pixels.to(device),
        labels=image_set.labels.to(device),
        outputs=tuple(_outputs_on(device, c, needs) if on_gpu else None for c in caches),
        first=tuple(cache.views_of(rows)[0].to(device) for cache in caches),
        subset=subset,
        jitter_seed=jitter_seed,
        reader=None if image_set.images.ready else Reader(image_set.images, policy, device),
    )


def bytes_to_keep(image_set: ImageSet, caches: tuple[Cache, ...], needs: frozenset[str]) -> int:
    """Size of the images and outputs that a resident loader would keep on a GPU."""
    pixels = image_set.images.resident
    images = 0 if pixels is None else pixels.nbytes
    return images + sum(
        sum(cache.layout.stored()[name].size for name in needs)
        for cache in caches
        if _can_be_kept(cache)
    )


def _outputs_on(device: torch.device, cache: Cache, needs: frozenset[str]) -> Outputs | None:
    if not _can_be_kept(cache):
        return None
    return {name: cache.tensor(name, device) for name in sorted(needs)}


def _can_be_kept(cache: Cache) -> bool:
    return cache.layout.dtype != "uint8"


def _ahead(make: Callable[[int], Item], numbers: Iterator[int]) -> Iterator[Item]:
    """make(n) for each number, in order, made a few ahead in a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(make, number) for number in islice(numbers, _BATCHES_AHEAD)]
        while waiting:
            item = waiting.pop(0).result()
            waiting.extend(pool.submit(make, number) for number in islice(numbers, 1))
            yield item
