"""Applying an operation to some images of a batch, without a loop over images."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .draws import send


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
