"""Views that are mixtures of two images: who is mixed with whom, and in which shares.

The partner of (row, view), the shares and the box follow from the hash of (row, view), so a
teacher's stored outputs and a student's pixels speak of the same mixture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .contract import MixStep
from .draws import Draws, choose, send
from .rectangles import inside

UNIT = 2**16
"""Shares are multiples of 1 / UNIT, so that mixtures are computed in whole numbers."""


@dataclass(frozen=True)
class Mixing:
    """How the views of a batch are mixed; everything is on the host."""

    partner_rows: Tensor
    """int64 [B]; an image's own row where it is not mixed."""
    shares: Tensor
    """float32 [B]: the image's own share of its view, of the label as of the pixels."""
    boxes: Tensor
    """Top, left, bottom and right of what the partner covers, int64 [B, 4]; empty elsewhere."""
    blended: Tensor
    """bool [B]: both images everywhere, in place of a box of the partner."""
    mixed: Tensor
    """bool [B]."""


def plan(steps: Sequence[MixStep], draws: Draws, total: int, size: tuple[int, int]) -> Mixing:
    """The mixing of views by one or several steps, with partners from `total` rows.

    Several steps share the views evenly: each view has one of them, which then mixes its own
    share of those views, as DeiT switches between mixup and CutMix (arXiv:2012.12877). View 0
    is never mixed.
    """
    from scipy.special import betaincinv  # slow to load, and few policies mix

    draws = draws.of("mix")
    which, partner, chance, own = draws.uniforms(4)
    step = choose(which, len(steps))
    rate, alpha = (
        torch.tensor([getattr(mix, name) for mix in steps], dtype=torch.float64)[step]
        for name in ("share", "alpha")
    )
    mixed = (chance < rate) & (draws.views != 0)
    shares = torch.from_numpy(betaincinv(alpha.numpy(), alpha.numpy(), own.numpy()))
    boxes = torch.zeros(len(step), 4, dtype=torch.long)
    blended = torch.zeros_like(mixed)
    for number, mix in enumerate(steps):
        chosen = mixed & (step == number)
        found = mix.boxes(shares[chosen], size, draws.at(chosen.nonzero()[:, 0]).of(mix.name()))
        if found is None:
            blended |= chosen
        else:
            boxes[chosen] = found
    shares = torch.where(blended, (shares * UNIT).round() / UNIT, _uncovered(boxes, size))
    rows = torch.where(mixed, choose(partner, total), draws.rows)
    return Mixing(rows, shares.float(), boxes, blended, mixed)


def mix(images: Tensor, partners: Tensor, mixing: Mixing) -> Tensor:
    """Mixtures of the mixed images of a batch and their partners: uint8 [M, 3, H, W].

    `images` and `partners` hold the M mixed images of `mixing` and no others. A mixture is
    rounded to grey levels once.
    """
    device, mixed = images.device, mixing.mixed
    size = (images.shape[2], images.shape[3])
    pasted = torch.where(inside(mixing.boxes[mixed], size, device), partners, images)
    own = send((mixing.shares[mixed] * UNIT).int(), device)[:, None, None, None]
    sums = images.int() * own + partners.int() * (UNIT - own) + UNIT // 2
    blended = send(mixing.blended[mixed], device)[:, None, None, None]
    return torch.where(blended, (sums >> 16).to(torch.uint8), pasted)


def _uncovered(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Share of an image that lies outside of its box: float64 [B]."""
    top, left, bottom, right = boxes.double().unbind(1)
    return 1 - (bottom - top) * (right - left) / (size[0] * size[1])
