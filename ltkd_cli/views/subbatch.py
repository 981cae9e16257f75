"""Working on some images of a batch at once, without a loop over images."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from .draws import send

AT_ONCE = 2**19
"""Values of images that a processor works on at once, so that what it makes of them stays near."""


def in_parts(images: Tensor, work: Callable[[slice], Tensor]) -> Tensor:
    """What `work` makes of the images in each of their `parts`, one after the other."""
    done = [work(part) for part in parts(images)]
    return done[0] if len(done) == 1 else torch.cat(done)


def parts(images: Tensor) -> Iterator[slice]:
    """Ranges of a batch to work on in turn: small ones on a processor, all of it on a GPU."""
    each = max(images[:1].numel(), 1)
    step = max(1, AT_ONCE // each) if images.device.type == "cpu" else max(len(images), 1)
    for start in range(0, max(len(images), 1), step):
        yield slice(start, start + step)


def change(images: Tensor, chosen: Tensor, operation: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Images [B, 3, H, W] in which operation(images, places) replaces the chosen ones.

    `chosen` is bool [B] on the CPU; `places`, int64 on the CPU, says which images the
    operation is given, so that it can pick their parameters.
    """
    places = chosen.nonzero()[:, 0]
    if not len(places):
        return images
    if len(places) == len(images):
        return operation(images, places)
    there = send(places, images.device)
    return images.index_copy(0, there, operation(images[there], places))
