"""Mixup and CutMix for methods without a teacher; everyone else passes through unmixed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .. import devices
from ..methods.contract import Batch, Method
from ..outputs import Outputs
from ..rng import counter_hash, seeded
from .recipe import Recipe


def mixed_terms(
    forward: Callable[[Tensor], Outputs],
    method: Method,
    images: Tensor,
    batch: Batch,
    recipe: Recipe,
    precision: str,
    stream: tuple[int, int, int],
) -> dict[str, Tensor]:
    """Loss terms of a batch, of mixed images where the recipe asks for it.

    A mixture of share s of an image and 1 - s of its partner gets s times the terms for the
    image's label plus 1 - s times those for the partner's. Partners and shares follow from
    `stream`: seed, epoch and number of the batch.

    Source: mixup, Zhang et al., arXiv:1710.09412; CutMix, Yun et al., arXiv:1905.04899.
    """
    if not (recipe.mixup or recipe.cutmix):
        terms: dict[str, Tensor] = method(_look(forward, images, precision), batch)
        return terms
    key = seeded(*stream)
    partner = torch.argsort(counter_hash(key, batch.rows))
    share = _draw_share(recipe.mixup or recipe.cutmix, key)
    if recipe.mixup:
        images = share * images + (1 - share) * images[partner]
    else:
        images, share = _paste(images, images[partner], share, key)
    student = _look(forward, images, precision)
    own = method(student, batch)
    other = method(student, dataclasses.replace(batch, labels=batch.labels[partner]))
    return {name: share * own[name] + (1 - share) * other[name] for name in own}


def _look(forward: Callable[[Tensor], Outputs], images: Tensor, precision: str) -> Outputs:
    """The network's outputs as float32: only networks ever compute in bfloat16, no loss does."""
    with devices.autocast(images.device, precision):
        outputs = forward(images)
    return {name: value.float() for name, value in outputs.items()}


def _draw_share(alpha: float, key: int) -> float:
    """A draw from Beta(alpha, alpha) that depends on the key alone."""
    return float(np.random.Generator(np.random.Philox(key)).beta(alpha, alpha))


def _paste(images: Tensor, partners: Tensor, share: float, key: int) -> tuple[Tensor, float]:
    """Images with one box of their partners, and the share of pixels that is still their own."""
    height, width = images.shape[-2:]
    side = math.sqrt(1 - share)
    generator = np.random.Generator(np.random.Philox(key).jumped())
    y, x = int(generator.integers(height)), int(generator.integers(width))
    half_y, half_x = int(height * side) // 2, int(width * side) // 2
    rows = slice(max(y - half_y, 0), min(y + half_y, height))
    columns = slice(max(x - half_x, 0), min(x + half_x, width))
    pasted = images.clone()
    pasted[..., rows, columns] = partners[..., rows, columns]
    box = (rows.stop - rows.start) * (columns.stop - columns.start)
    return pasted, 1 - box / (height * width)
