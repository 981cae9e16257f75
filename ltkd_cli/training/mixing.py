"""Mixup and CutMix for methods without a teacher."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..methods.contract import Batch
from ..rng import counter_hash, seeded
from .recipe import Recipe


class Mixed(NamedTuple):
    """Images of a batch, each mixed with another of it."""

    images: Tensor
    """float [B, 3, H, W]."""
    partner_labels: Tensor
    """Label of the other image in each mixture, int64 [B]."""
    share: float
    """Of the image itself in its mixture, in [0, 1]; the rest is its partner's."""


def mix(images: Tensor, batch: Batch, recipe: Recipe, stream: tuple[int, int, int]) -> Mixed:
    """The images [B, 3, H, W] of a batch, mixed where the recipe asks for it.

    Partners, shares and boxes follow from `stream`: seed, epoch and number of the batch.

    Source: mixup, Zhang et al., arXiv:1710.09412; CutMix, Yun et al., arXiv:1905.04899.
    """
    if not (recipe.mixup or recipe.cutmix):
        return Mixed(images, batch.labels, 1.0)
    key = seeded(*stream)
    partner = torch.argsort(counter_hash(key, batch.rows))
    share = _draw_share(recipe.mixup or recipe.cutmix, key)
    if recipe.mixup:
        images = share * images + (1 - share) * images[partner]
    else:
        images, share = _paste(images, images[partner], share, key)
    return Mixed(images, batch.labels[partner], share)


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
