"""Resizing a part of each image to one size: bilinear with antialiasing, one box for each image.

A resize is two small matrices for each image, one along the width and one along the height.
Their weights are whole numbers of 1/16,384 or finer and pixels are rounded to grey levels
after each of the two, as PyTorch resizes uint8 images on a CPU. All sums stay below 2^24, so
they are exact in float32 in whatever order they are added: the pixels are the same in any
batch, on any number of threads and on any device. On a CPU PyTorch's own resize makes the very
same pixels of most boxes, in a fraction of the time, and is used where it does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..data.decode import MARGIN as MARGIN  # short side before the centre is cropped, by output
from .draws import send
from .subbatch import in_parts

VERSION = 1
"""Changes whenever the same windows give other pixels."""

SAME_WEIGHTS = 3.0
"""Source pixels for one of the output, up to which PyTorch's own weights have our unit: there
some weight is 1/4 or more, and neither unit is finer than 2^-16."""

Sources = Tensor | Sequence[Tensor]
"""Images uint8 [B, 3, H, W] of one size, or B images [3, H, W] of their own sizes."""


@dataclass(frozen=True)
class Windows:
    """Where the outputs' pixels lie along one axis of the sources; all float64 [B] on the host.

    Output pixel i has its centre at origin + (i + 0.5) * scale, and is a mean of source pixels
    between `low` and `high`.
    """

    origin: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor

    def span(self, place: int, count: int) -> tuple[int, int]:
        """First pixel of an image's source that `count` outputs may use, and the one after all."""
        origin, scale = float(self.origin[place]), float(self.scale[place])
        reach = max(scale, 1) + 1
        first = max(float(self.low[place]), math.floor(origin - reach))
        last = min(float(self.high[place]), math.ceil(origin + count * scale + reach))
        return int(first), int(last)

    def of(self, part: slice, shift: int = 0) -> Windows:
        """The windows of some images, after their sources lost `shift` pixels."""
        low, high = self.low[part] - shift, self.high[part] - shift
        return Windows(self.origin[part] - shift, self.scale[part], low, high)


def sizes_of(images: Sources) -> tuple[Tensor, Tensor]:
    """Heights and widths of source images: int64 [B] each, on the host."""
    if isinstance(images, Tensor):
        height, width = images.shape[-2:]
        return torch.full((len(images),), height), torch.full((len(images),), width)
    sides = torch.tensor([image.shape[-2:] for image in images], dtype=torch.long).view(-1, 2)
    return sides[:, 0], sides[:, 1]


def some(images: Sources, places: Tensor) -> Sources:
    """The images at `places`, int64 on the host."""
    if isinstance(images, Tensor):
        return images[send(places, images.device)]
    return [images[place] for place in places.tolist()]


def crop_resize(images: Sources, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """The boxes of images, resized to `size` (height and width): uint8 [B, 3, *size].

    `boxes` are top, left, height and width, int64 [B, 4] on the host. No pixel outside of its
    box has a part in the result, as in torchvision's `resized_crop`.
    """
    if not _by_pytorch(images, size):
        return crop_multiply(images, boxes, size)
    small = (boxes[:, 2:] <= torch.tensor(size) * SAME_WEIGHTS).all(1).tolist()
    return torch.cat(
        [
            _interpolated(image, box.tolist(), size)
            if is_small
            else crop_multiply([image], box[None], size)
            for image, box, is_small in zip(images, boxes, small, strict=True)
        ]
    )


def crop_multiply(images: Sources, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """The same by products of matrices, on any device and for any box."""
    top, left, height, width = boxes.double().unbind(1)
    rows = Windows(top, height / size[0], top, top + height)
    columns = Windows(left, width / size[1], left, left + width)
    return _resize(images, rows, columns, size)


def _by_pytorch(images: Sources, size: tuple[int, int]) -> bool:
    """Whether PyTorch's own resize may be used: on a CPU; it fails for a single pixel of output."""
    on_cpu = bool(len(images)) and images[0].device.type == "cpu"
    return on_cpu and size != (1, 1) and pytorch_agrees()


def _interpolated(image: Tensor, box: Sequence[int], size: tuple[int, int]) -> Tensor:
    """A box of an image uint8 [3, H, W], resized by PyTorch: uint8 [1, 3, *size]."""
    top, left, height, width = box
    part = image[None, :, top : top + height, left : left + width].contiguous()
    return interpolate(part, size, mode="bilinear", antialias=True)


@cache
def pytorch_agrees() -> bool:
    """Whether PyTorch's own resize makes the pixels that the matrices make, on this machine.

    Tried once in a process: another version of PyTorch may resize in another way.
    """
    size = (24, 24)
    image = (torch.arange(3 * 72 * 72) * 8191 % 257).clamp(max=255).to(torch.uint8).view(3, 72, 72)
    sides = [(72, 72), (71, 25), (48, 49), (37, 72), (24, 24), (23, 40), (11, 5), (1, 72)]
    boxes = torch.tensor([(72 - height, 0, height, width) for height, width in sides])
    found = [_interpolated(image, box, size) for box in boxes.tolist()]
    return torch.equal(torch.cat(found), crop_multiply([image] * len(sides), boxes, size))


def frame(images: Sources, size: tuple[int, int], margin: float) -> Tensor:
    """The clean view of source images: uint8 [B, 3, *size].

    The short side is resized to `margin` times the output's and the centre is cropped, as
    torchvision's `resize` and `center_crop` do. An image that is smaller than that is enlarged
    by no more than it takes to fill the output, so one of the output's size stays as it is.
    """
    if isinstance(images, Tensor) and tuple(images.shape[-2:]) == size:
        return images
    heights, widths = sizes_of(images)
    by_height = size[0] * widths >= size[1] * heights  # the height is what limits the resize
    short = torch.where(by_height, heights, widths)
    least = torch.where(by_height, size[0], size[1])
    resized = short.minimum((least * margin + 1e-6).long()).maximum(least).double()
    rows = _centred(heights, resized * heights / short, size[0])
    columns = _centred(widths, resized * widths / short, size[1])
    return _resize(images, rows, columns, size)


def _centred(sides: Tensor, resized: Tensor, wanted: int) -> Windows:
    """The middle `wanted` pixels of sides that are resized to whole pixels, both [B]."""
    whole = resized.floor().clamp(min=wanted)
    scale = sides / whole
    before = ((whole - wanted) / 2).round()
    return Windows(before * scale, scale, torch.zeros_like(scale), sides.double())


def _resize(images: Sources, rows: Windows, columns: Windows, size: tuple[int, int]) -> Tensor:
    if isinstance(images, Tensor):
        return in_parts(
            images,
            lambda part: _resize_batch(images[part], rows.of(part), columns.of(part), size),
        )
    each = [_resize_one(image, rows, columns, n, size) for n, image in enumerate(images)]
    return torch.cat(each)


def _resize_one(
    image: Tensor, rows: Windows, columns: Windows, place: int, size: tuple[int, int]
) -> Tensor:
    """The image [3, H, W] at `place`; one that keeps its scale is only cropped."""
    if rows.scale[place] == columns.scale[place] == 1:  # and then begins at a whole pixel
        top, left = (int(each.origin[place]) for each in (rows, columns))
        return image[None, :, top : top + size[0], left : left + size[1]]
    return _resize_batch(*_needed(image[None], rows, columns, place, size), size)


def _needed(
    image: Tensor, rows: Windows, columns: Windows, place: int, size: tuple[int, int]
) -> tuple[Tensor, Windows, Windows]:
    """An image without the rows and columns that have no part in the result."""
    top, bottom = rows.span(place, size[0])
    left, right = columns.span(place, size[1])
    own = slice(place, place + 1)
    return image[..., top:bottom, left:right], rows.of(own, top), columns.of(own, left)


def _resize_batch(images: Tensor, rows: Windows, columns: Windows, size: tuple[int, int]) -> Tensor:
    """Both passes over images uint8 [B, 3, H, W], widths first."""
    # Reduced precisions of matrix products would not hold the weights.
    exact = torch.get_float32_matmul_precision() == "highest"
    kind = torch.float32 if exact else torch.float64
    height, width = images.shape[-2:]
    with torch.autocast(images.device.type, enabled=False):
        along, unit = _weights(columns, size[1], width, images.device, kind)
        narrow = images.flatten(1, 2).to(kind) @ along.transpose(1, 2)
        narrow = _levels(narrow, unit).view(len(images), 3, height, size[1])
        down, unit = _weights(rows, size[0], height, images.device, kind)
        return _levels(down[:, None] @ narrow, unit[..., None]).to(torch.uint8)


def _weights(
    windows: Windows, count: int, length: int, device: torch.device, kind: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Weights of `length` source pixels in `count` output pixels, in units of 1 / unit.

    Whole numbers [B, count, length], and the unit [B, 1, 1], a power of two: the largest, from
    2^14 to 2^16, with which the weights stay below 2^15.
    """
    origin, scale, low, high = (
        send(value, device)[:, None, None]
        for value in (windows.origin, windows.scale, windows.low, windows.high)
    )
    numbers = torch.arange(max(count, length), device=device, dtype=torch.float64) + 0.5
    centre = origin + numbers[:count, None] * scale
    pixel = numbers[:length]
    near = 1 - (pixel - centre).abs() / scale.clamp(min=1)
    near = near.clamp_(min=0) * ((pixel > low) & (pixel < high))
    shares = near / near.sum(2, keepdim=True)
    highest = shares.amax((1, 2), keepdim=True) * 2**15 + 0.5
    unit = 2.0 ** (14 + (highest < 2**15).double() + (highest < 2**14).double())
    return (shares * unit).add_(0.5).floor_().to(kind), unit.to(kind)


def _levels(sums: Tensor, unit: Tensor) -> Tensor:
    """Weighted sums rounded to grey levels from 0 to 255."""
    return ((sums + unit / 2) / unit).floor_().clamp_(0, 255)
