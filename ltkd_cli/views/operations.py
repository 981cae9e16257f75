"""The fifteen operations of AutoAugment, RandAugment and TrivialAugment, each image with its own.

Names, magnitudes and pixels are torchvision's. What differs from image to image is only a
code, the place of an operation's name in OPERATIONS, and a magnitude.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from . import geometry, lookup
from .colour import adjust_saturation, adjust_sharpness
from .draws import send

WARPS = {
    "ShearX": geometry.shear_x,
    "ShearY": geometry.shear_y,
    "TranslateX": geometry.translate_x,
    "TranslateY": geometry.translate_y,
    "Rotate": geometry.rotate,
}
TABLES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Brightness": lambda images, magnitudes: lookup.brightness(images, 1 + magnitudes),
    "Contrast": lambda images, magnitudes: lookup.contrast(images, 1 + magnitudes),
    "Posterize": lookup.posterize,
    "Solarize": lookup.solarize,
    "AutoContrast": lambda images, _: lookup.autocontrast(images),
    "Equalize": lambda images, _: lookup.equalize(images),
    "Invert": lambda images, _: lookup.invert(images),
}

OPERATIONS = ("Identity", *WARPS, *TABLES, "Color", "Sharpness")
"""Names of the operations; the place of a name is its code."""

CODES = {name: code for code, name in enumerate(OPERATIONS)}

_SIGNED = (*WARPS, "Brightness", "Contrast", "Color", "Sharpness")
"""Operations whose magnitude is negative one time in two."""


@cache
def magnitude_table(
    bins: int, shear: float, shift: tuple[float, float], degrees: float, factor: float, bits: int
) -> Tensor:
    """Magnitudes of every operation, weakest first: float64 [15, bins], 0 where it has none.

    The strongest are given: shear, shift along height and width in pixels, degrees, distance
    of an enhancement factor from 1, and dropped bits of posterize.
    """
    highest = dict.fromkeys(("Brightness", "Contrast", "Color", "Sharpness"), factor)
    highest |= {"ShearX": shear, "ShearY": shear, "Rotate": degrees}
    highest |= {"TranslateY": shift[0], "TranslateX": shift[1]}
    table = torch.zeros(len(OPERATIONS), bins, dtype=torch.float64)
    for name, strongest in highest.items():
        table[CODES[name]] = torch.linspace(0, strongest, bins).double()
    table[CODES["Solarize"]] = torch.linspace(1, 0, bins).double()
    table[CODES["Posterize"]] = (8 - torch.arange(bins) / ((bins - 1) / bits)).round().double()
    return table


def with_signs(codes: Tensor, magnitudes: Tensor, uniforms: Tensor) -> Tensor:
    """Magnitudes of which every second is negative, where an operation has two directions."""
    signed = torch.tensor([name in _SIGNED for name in OPERATIONS])[codes]
    return torch.where(signed & (uniforms < 0.5), -magnitudes, magnitudes)


def apply_operations(images: Tensor, codes: Tensor, magnitudes: Tensor) -> Tensor:
    """Images uint8 [B, 3, H, W], each changed by the operation of its code.

    `codes`, int64 [B], and `magnitudes`, float64 [B] with their sign, are on the host. Shears
    and shifts take the nearest pixel, and what comes from outside of the image is black.
    """
    changed = images.clone()
    for members, family in _FAMILIES:
        places = torch.isin(codes, members).nonzero()[:, 0]
        if len(places):
            there = send(places, images.device)
            result = family(images[there], codes[places], magnitudes[places])
            changed.index_copy_(0, there, result)
    return changed


def _warp(images: Tensor, codes: Tensor, magnitudes: Tensor) -> Tensor:
    size = (images.shape[2], images.shape[3])
    sources = torch.empty(len(images), 2, 3)
    for name, source in WARPS.items():
        own = codes == CODES[name]
        sources[own] = source(magnitudes[own], size)
    return geometry.warp(images, sources)


def _look_up(images: Tensor, codes: Tensor, magnitudes: Tensor) -> Tensor:
    tables = torch.empty(len(images), 3, lookup.LEVELS, dtype=torch.uint8, device=images.device)
    for name, table in TABLES.items():
        places = (codes == CODES[name]).nonzero()[:, 0]
        if len(places):
            there = send(places, images.device)
            tables.index_copy_(0, there, table(images[there], magnitudes[places]))
    return lookup.look_up(images, tables)


def _saturate(images: Tensor, codes: Tensor, magnitudes: Tensor) -> Tensor:
    return adjust_saturation(images, 1 + magnitudes)


def _sharpen(images: Tensor, codes: Tensor, magnitudes: Tensor) -> Tensor:
    return adjust_sharpness(images, 1 + magnitudes)


def _codes(*names: str) -> Tensor:
    return torch.tensor([CODES[name] for name in names])


_FAMILIES = (
    (_codes(*WARPS), _warp),
    (_codes(*TABLES), _look_up),
    (_codes("Color"), _saturate),
    (_codes("Sharpness"), _sharpen),
)
"""Operations that are computed together, and how."""
