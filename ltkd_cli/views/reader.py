"""Views of an image set, batch by batch: the one reader of images that are no array in memory.

Photographs are decoded, or read from the store, and cut to frames by the worker processes of a
PyTorch DataLoader, some batches ahead. The other steps of a policy are applied where the
network is.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from .. import distributed
from ..data import Images
from ..errors import DataError, Hint, LtkdError
from .draws import send
from .policy import Mixed, Policy, finish, frame_views, render, sources_of
from .resize import some

MAX_WORKERS = 16
"""More processes rarely find the cores, and their batches take memory."""

AHEAD = 2
"""Batches that each worker makes ahead of the step."""

SECONDS_AFTER_SIGTERM = 10
"""Given to the process that trains: it may want a last batch when a whole job is to end."""

SHARED_MEMORY = Path("/dev/shm")
"""Where Linux keeps what processes share, as batches are; a container may have little of it."""


class Request(NamedTuple):
    """Views that are wanted together, in order: int64 [B] both, on the host."""

    rows: Tensor
    views: Tensor


class Failed(NamedTuple):
    """An LtkdError on its way out of a worker."""

    kind: type[LtkdError]
    problem: str
    hint: Hint


Indices = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Rows and views of a request; NumPy's arrays travel to workers without shared memory."""


class Reader:
    """Reads requests of one policy from images that are not ready, by workers that stay."""

    def __init__(self, images: Images, policy: Policy, device: torch.device) -> None:
        """Starts nothing yet."""
        self._images, self._policy, self._device = images, policy, device
        self._wanted = _Wanted()
        self._loader: DataLoader[Tensor | Failed] | None = None

    def frames(self, requests: Sequence[Request]) -> Iterator[Tensor]:
        """What `finish` takes for each request, in order: uint8 [B + M, 3, H, W] on the host.

        For a GPU in pinned memory. Requests of an earlier call are given up. DataError and the
        like where an image cannot be read.
        """
        if not requests:
            return iter(())
        self._wanted.requests = requests
        workers = self._worker_count(requests)
        if self._loader is None or self._loader.num_workers < workers:  # few requests need few
            self._loader = self._open(workers)
        with _undisturbed():
            batches = iter(self._loader)
        return _unpacked(batches)

    def lacking(self, batch_size: int) -> str:
        """Why fewer processes read batches than the machine has cores for; empty where it is so."""
        own = -(-batch_size // distributed.size())
        wanted, room = wanted_workers(self._device), self._room(own)
        if min(wanted, MAX_WORKERS) <= room:
            return ""
        return (
            f"{SHARED_MEMORY} has room for the batches of {room} of {min(wanted, MAX_WORKERS)} "
            "processes that read images."
        )

    def _worker_count(self, requests: Sequence[Request]) -> int:
        largest = max(len(request.rows) for request in requests[:2])
        return worker_count(len(requests), self._room(largest), self._device)

    def _room(self, batch_size: int) -> int:
        height, width = self._images.size
        frames = 2 * batch_size if self._policy.is_mixed else batch_size  # with all partners
        return room_for(3 * height * width * frames)

    def _open(self, workers: int) -> DataLoader[Tensor | Failed]:
        return DataLoader(
            _Frames(self._images, self._policy),
            sampler=self._wanted,
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=workers,
            prefetch_factor=AHEAD if workers else None,
            persistent_workers=workers > 0,
            pin_memory=self._device.type == "cuda",
            worker_init_fn=_begin_worker,
            multiprocessing_context="fork" if workers else None,
            generator=torch.Generator(),  # else each epoch would draw from the global one
        )


def read(
    images: Images,
    requests: Sequence[Request],
    policy: Policy,
    device: torch.device,
    reader: Reader | None = None,
) -> Iterator[Mixed]:
    """The views of each request, on a device; each file of a request is decoded once.

    `reader` is one of these images and this policy, whose workers are there from an earlier call.
    DataError and the like where an image cannot be read.
    """
    total = len(images)
    if images.ready:
        for request in requests:
            yield render(lambda rows: _gather(images, rows, device), *request, policy, total)
        return
    frames = (reader or Reader(images, policy, device)).frames(requests)
    for request, found in zip(requests, frames, strict=True):
        yield finish(found.to(device, non_blocking=True), *request, policy, total)


def clean(rows: Iterable[Tensor]) -> list[Request]:
    """Requests for the clean view of rows, int64 [B] each."""
    return [Request(part, torch.zeros_like(part)) for part in rows]


def worker_count(requests: int, room: int, device: torch.device) -> int:
    """Processes that read: as many as are wanted, but no more than requests, or than have room.

    0 where this process has to read by itself.
    """
    return min(wanted_workers(device), requests, room, MAX_WORKERS) if requests > 1 else 0


def wanted_workers(device: torch.device) -> int:
    """Processes to read with: for a GPU one for each core but one, else one for each thread.

    Processes of torchrun share the cores. 0 on systems where processes cannot be forked.
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    cores = max(1, cores // distributed.size())
    return max(1, cores - 1) if device.type == "cuda" else min(cores, torch.get_num_threads())


def room_for(batch_bytes: int) -> int:
    """Processes whose batches shared memory has room for."""
    if not SHARED_MEMORY.is_dir():
        return MAX_WORKERS
    free = shutil.disk_usage(SHARED_MEMORY).free // distributed.size()
    return free // 2 // ((AHEAD + 1) * batch_bytes)


def _gather(images: Images, rows: Tensor, device: torch.device) -> Tensor:
    found = images.gather(rows)
    assert isinstance(found, Tensor)  # images that are ready have one size
    return send(found, device)


class _Wanted(Sampler[Indices]):
    """The requests of an epoch."""

    def __init__(self) -> None:
        self.requests: Sequence[Request] = ()

    def __iter__(self) -> Iterator[Indices]:
        return ((rows.numpy(), views.numpy()) for rows, views in self.requests)

    def __len__(self) -> int:
        return len(self.requests)


class _Frames(Dataset[Tensor | Failed]):
    """Frames of requests, made by whoever asks for them."""

    def __init__(self, images: Images, policy: Policy) -> None:
        self.images, self.policy = images, policy

    def __getitem__(self, request: Indices) -> Tensor | Failed:
        rows, views = map(torch.from_numpy, request)
        try:
            return self._frames(rows, views)
        except LtkdError as error:
            return Failed(type(error), error.problem, error.hint)
        except MemoryError:
            problem = f"There was not enough memory for a batch of {len(rows):,} images."
            return Failed(DataError, problem, "free -h, or a smaller --batch-size")

    def _frames(self, rows: Tensor, views: Tensor) -> Tensor:
        size = self.images.size
        rows, views = sources_of(rows, views, self.policy, len(self.images), size)
        different, places = torch.unique(rows, return_inverse=True)
        sources = some(self.images.gather(different), places)
        return frame_views(sources, rows, views, self.policy, size)


def _unpacked(batches: Iterator[Tensor | Failed]) -> Iterator[Tensor]:
    """The batches; LtkdError where a worker failed, or is gone."""
    while True:
        try:
            found = next(batches)
        except StopIteration:
            return
        except (RuntimeError, EOFError, OSError) as error:  # the last two where it fell silent
            if isinstance(error, RuntimeError) and not str(error).startswith("DataLoader worker"):
                raise
            why = " ".join(str(error).split()) or "it has fallen silent"
            raise DataError(
                f"A process that reads images has ended before its time: {why}.",
                f"free -h; df -h {SHARED_MEMORY}; ulimit -n",
            ) from error
        if isinstance(found, Failed):
            raise found.kind(found.problem, found.hint)
        yield found


def _as_it_is(found: Any) -> Any:
    return found


def _begin_worker(number: int) -> None:
    """What ends the process that trains ends its workers, a little later."""
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(SECONDS_AFTER_SIGTERM) and None)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Workers begun in the body get no Ctrl-C, and their end interrupts no other code of ours."""
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGCHLD) or signal.SIG_DFL
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads
            yield
    finally:
        if in_main:
            signal.signal(signal.SIGCHLD, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
