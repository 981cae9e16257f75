"""A network's outputs over views of an image set: evaluation, export and features all use it.

Everywhere the network is in evaluation mode, without gradients, and its outputs are float32.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from . import devices, distributed
from .cache import CacheWriter, Layout
from .data import ImageSet
from .data.groups import Groups
from .events import Computed, Exported
from .metrics import Scores, score
from .models import Network
from .outputs import Outputs
from .views.policy import Policy, to_float
from .views.reader import Request, clean, read

BATCH = 512
"""Images in one forward pass without gradients, of at most SMALL pixels along a side."""

SMALL = 96


def evaluate(
    network: nn.Module,
    image_set: ImageSet,
    groups: Groups,
    train_counts: Sequence[int],
    device: torch.device,
    precision: str = "float32",
    *,
    policy: Policy,
) -> Scores:
    """Scores on the clean images of a set; float32 wherever the numbers are kept.

    `train_counts` are the training images of each class. `policy` is the one that the network
    was trained with: it says how much of a photograph its clean view shows. Errors as for
    `metrics.score`.
    """
    logits = predict(network, image_set, device, precision, policy=policy)
    return score(logits, image_set.labels, groups, image_set.class_names, train_counts)


def predict(
    network: nn.Module,
    image_set: ImageSet,
    device: torch.device,
    precision: str = "float32",
    *,
    policy: Policy,
) -> Tensor:
    """Logits float32 [N, C], on the CPU, of the clean images in row order.

    `policy` says how much of a photograph its clean view shows.
    """
    rows = torch.split(torch.arange(len(image_set.labels)), _batch(image_set, network))
    shown = read(image_set.images, clean(rows), policy, device)
    parts = [forward(network, found.images, precision)["logits"] for found in shown]
    return torch.cat(parts).cpu()


def extract_features(
    network: Network,
    image_set: ImageSet,
    rows: Tensor,
    views: int,
    policy: Policy,
    device: torch.device,
    precision: str = "float32",
) -> Generator[Computed, None, Tensor]:
    """Features float32 [R, V, D], on the CPU, of views 0..V-1 of rows int64 [R].

    Yields progress; the tensor is the generator's return value.
    """
    found = torch.empty(len(rows), views, network.width)
    counts = torch.full_like(rows, views)
    parts = torch.split(torch.arange(len(rows)), max(1, _batch(image_set, network) // views))
    blocks = [(rows[places], counts[places]) for places in parts]
    computed = forward_views(network, image_set, blocks, policy, device, precision)
    for places, outputs in zip(parts, computed, strict=True):
        found[places] = outputs["features"].reshape(len(places), views, -1).cpu()
        yield Computed((int(places[-1]) + 1) * views, len(rows) * views)
    return found


def export(
    network: nn.Module,
    image_set: ImageSet,
    policy: Policy,
    writer: CacheWriter,
    device: torch.device,
    precision: str,
) -> Iterator[Exported]:
    """Fills what a cache still misses with the network's outputs, block by block; yields progress.

    Every block holds all views of some rows, always the same rows, so that an export that
    was interrupted computes the very batches that an uninterrupted one computes. Other processes
    `compute_along`: blocks go round, and what they are sent is written here.
    """
    layout = writer.layout
    first: NDArray[np.int64] = layout.first
    missing = writer.missing()
    total = int(first[-1])
    done = total - len(missing)
    yield Exported(done, total)
    missed: list[tuple[int, int, int]] = []
    for begin, end in _blocks(first, _batch(image_set, network)):
        low, high = np.searchsorted(missing, [first[begin], first[end]])
        if low < high:
            missed.append((begin, end, int(high - low)))
    blocks = distributed.shared(
        [
            (torch.arange(begin, end), torch.from_numpy(np.diff(first[begin : end + 1])))
            for begin, end, _ in missed
        ]
    )
    processes = distributed.size()
    computed = forward_views(network, image_set, blocks[::processes], policy, device, precision)
    for number, (begin, end, entries) in enumerate(missed):
        views, sender = int(first[end] - first[begin]), number % processes
        outputs = _received(views, layout, sender) if sender else next(computed)
        features = outputs["features"].cpu().numpy() if layout.width else None
        writer.write(int(first[begin]), outputs["logits"].cpu().numpy(), features)
        done += entries
        yield Exported(done, total)


def _received(views: int, layout: Layout, sender: int) -> Outputs:
    """The outputs for so many views that another process computed."""
    outputs = {"logits": distributed.receive(torch.empty(views, layout.classes), sender)}
    if layout.width:
        outputs["features"] = distributed.receive(torch.empty(views, layout.width), sender)
    return outputs


def compute_along(
    network: nn.Module,
    image_set: ImageSet,
    policy: Policy,
    features: bool,
    device: torch.device,
    precision: str,
) -> None:
    """Computes the blocks of an `export` that are this process's, and sends them to it."""
    blocks: list[tuple[Tensor, Tensor]] = distributed.shared(None)
    own = blocks[distributed.rank() :: distributed.size()]
    for outputs in forward_views(network, image_set, own, policy, device, precision):
        distributed.send_to_first(outputs["logits"].cpu())
        if features:
            distributed.send_to_first(outputs["features"].cpu())


def forward_views(
    network: nn.Module,
    image_set: ImageSet,
    blocks: Sequence[tuple[Tensor, Tensor]],
    policy: Policy,
    device: torch.device,
    precision: str,
) -> Iterator[Outputs]:
    """Outputs for the first `counts` [R] views of `rows` [R] of each block, row by row.

    Each image is read once for all its views, and the partners of mixtures beside them.
    """
    requests = [_all_views(rows, counts) for rows, counts in blocks]
    for found in read(image_set.images, requests, policy, device):
        yield forward(network, found.images, precision)


def _all_views(rows: Tensor, counts: Tensor) -> Request:
    starts = (counts.cumsum(0) - counts).repeat_interleave(counts)
    return Request(rows.repeat_interleave(counts), torch.arange(int(counts.sum())) - starts)


def forward(network: nn.Module, pixels: Tensor, precision: str = "float32") -> Outputs:
    """Outputs for pixels uint8 [B, 3, H, W], on their device."""
    network.eval()
    with torch.inference_mode(), devices.autocast(pixels.device, precision):
        return {name: value.float() for name, value in network(to_float(pixels)).items()}


def _batch(image_set: ImageSet, network: nn.Module) -> int:
    """Images in one forward pass: of larger ones fewer, so that they take no more memory.

    Their size is that which the network works on, where it enlarges its input.
    """
    height, width = image_set.images.size
    if isinstance(network, Network):
        height, width = network.input_size(height, width)
    return max(1, min(BATCH, BATCH * SMALL * SMALL // (height * width)))


def _blocks(first: NDArray[np.int64], size: int) -> Iterator[tuple[int, int]]:
    """Ranges of rows with at most `size` entries each, or one row where that has more."""
    begin, rows = 0, len(first) - 1
    while begin < rows:
        end = int(np.searchsorted(first, first[begin] + size, side="right")) - 1
        end = max(end, begin + 1)
        yield begin, end
        begin = end
