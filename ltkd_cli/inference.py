"""Running a network over views of images: predictions on a test set, and a whole cache."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import devices
from .cache import CacheWriter
from .data import ImageSet
from .events import Exported
from .models import Network
from .outputs import Outputs
from .views.policy import ViewPolicy, to_float, view

PREDICTION_BATCH = 512
"""Images in one forward pass without gradients."""


def predict(
    network: Network, image_set: ImageSet, device: torch.device, precision: str = "float32"
) -> Tensor:
    """Logits float32 [N, C], on the CPU, of the clean images in row order."""
    network.eval()
    parts = [
        _outputs(network, image_set.images.gather(rows).to(device), precision)["logits"]
        for rows in torch.split(torch.arange(len(image_set.labels)), PREDICTION_BATCH)
    ]
    return torch.cat(parts).cpu()


def export(
    network: Network,
    image_set: ImageSet,
    policy: ViewPolicy,
    writer: CacheWriter,
    device: torch.device,
    precision: str,
) -> Iterator[Exported]:
    """Fills what a cache still misses with the network's outputs, block by block; yields progress.

    Every block holds all views of some rows, always the same rows, so that an export that
    was interrupted computes the very batches that an uninterrupted one computes.
    """
    network.eval()
    layout = writer.layout
    first: NDArray[np.int64] = layout.first
    missing = writer.missing()
    total = int(first[-1])
    done = total - len(missing)
    yield Exported(done, total)
    for begin, end in _blocks(first, PREDICTION_BATCH):
        low, high = np.searchsorted(missing, [first[begin], first[end]])
        if low == high:
            continue
        said = _answer(network, image_set, policy, first[begin : end + 1], begin, device, precision)
        features = said["features"].cpu().numpy() if layout.width else None
        writer.write(int(first[begin]), said["logits"].cpu().numpy(), features)
        done += int(high - low)
        yield Exported(done, total)


def _answer(
    network: Network,
    image_set: ImageSet,
    policy: ViewPolicy,
    first: NDArray[np.int64],
    begin: int,
    device: torch.device,
    precision: str,
) -> Outputs:
    """Outputs for all views of the rows from `begin` on, whose entries `first` bounds."""
    counts = torch.from_numpy(np.diff(first))
    own_rows = begin + torch.arange(len(counts))
    pixels = image_set.images.gather(own_rows).repeat_interleave(counts, 0)
    rows = own_rows.repeat_interleave(counts)
    starts = torch.from_numpy(first[:-1] - first[0]).repeat_interleave(counts)
    views = torch.arange(len(rows)) - starts
    seen = view(pixels.to(device), rows.to(device), views.to(device), policy)
    return _outputs(network, seen, precision)


def _outputs(network: Network, pixels: Tensor, precision: str) -> Outputs:
    with torch.inference_mode(), devices.autocast(pixels.device, precision):
        return {name: value.float() for name, value in network(to_float(pixels)).items()}


def _blocks(first: NDArray[np.int64], size: int) -> Iterator[tuple[int, int]]:
    """Ranges of rows with at most `size` entries each, or one row where that has more."""
    begin, rows = 0, len(first) - 1
    while begin < rows:
        end = int(np.searchsorted(first, first[begin] + size, side="right")) - 1
        end = max(end, begin + 1)
        yield begin, end
        begin = end
