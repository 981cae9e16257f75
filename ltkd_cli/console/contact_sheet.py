"""What a policy does, as a picture: a row for each image, a column for each view."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..data import ImageSet
from ..errors import UsageError
from ..files import replacing
from ..views.policy import Mixed, Policy
from ..views.reader import Request, read

MAX_IMAGES, MAX_VIEWS = 64, 64

SMALLEST = 96
"""Pixels along a side that images are enlarged to."""

NO_LETTER = "\U0010ffff"
"""What no font has; drawn as the box that stands for every letter that a font lacks."""

GAP, LINE, LETTER, LABELS = 6, 18, 8, 110
"""Pixels between images, of a line, of a letter, and of the column with names of classes."""


def write_contact_sheet(
    images: ImageSet, policy: Policy, path: Path, count: int = 8, views: int = 8
) -> None:
    """Writes views 0, 1, ... of `count` images; UsageError where that cannot be done.

    The images are of different classes, from the largest to the smallest.
    """
    check(count, views, path)
    rows = choose_rows(images, count)
    wanted = Request(rows.repeat_interleave(views), torch.arange(views).repeat(len(rows)))
    (seen,) = read(images.images, [wanted], policy, torch.device("cpu"))
    sheet = draw(seen, rows, views, images, policy)
    try:
        with replacing(path) as file:
            sheet.save(file, Image.registered_extensions()[path.suffix.lower()])
    except (OSError, ValueError) as error:  # a format may not take such pictures
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{path} cannot be written: {reason}.", "--out views.png") from error


def choose_rows(images: ImageSet, count: int) -> Tensor:
    """Rows of images of different classes, evenly from the largest to the smallest: int64."""
    counts = torch.tensor(images.class_counts())
    classes = counts.argsort(descending=True, stable=True)[: int((counts > 0).sum())]
    # Whole rounds over all classes, and the rest spread evenly over them.
    rounds, rest = divmod(min(count, int(counts.sum())), len(classes))
    spread = (torch.arange(rest) * max(len(classes) - 1, 1)) // max(rest - 1, 1)
    found = [
        rows[:wanted]
        for place, label in enumerate(classes.tolist())
        if (wanted := rounds + int((spread == place).any()))
        for rows in [(images.labels == label).nonzero()[:, 0]]
    ]
    return torch.cat(found)


def draw(seen: Mixed, rows: Tensor, views: int, images: ImageSet, policy: Policy) -> Image.Image:
    """The sheet: a header, a line that numbers the views, and the images with their classes."""
    times = max(1, -(-SMALLEST // min(seen.images.shape[-2:])))
    height, width = (side * times for side in seen.images.shape[-2:])
    across, down = width + GAP, height + GAP + LINE * policy.is_mixed
    header = f"{images.name}: {policy.spec}, seed {policy.seed}"
    lines = textwrap.wrap(header, (LABELS + views * across) // LETTER, break_long_words=True)
    top = LINE * (len(lines) + 1) + 2 * GAP
    sheet = Image.new("RGB", (LABELS + views * across, top + len(rows) * down), "white")
    pen = ImageDraw.Draw(sheet)
    pen.font = ImageFont.load_default(13)
    for number, line in enumerate(lines):
        pen.text((GAP, GAP + LINE * number), line, "black")
    for view in range(views):
        name = f"view {view}" + " (clean)" * (view == 0)
        pen.text((LABELS + view * across, top - LINE), name, "black")
    for place, row in enumerate(rows.tolist()):
        name = _fitted(pen, class_of(pen, images, row), LABELS - GAP)
        pen.text((GAP, top + place * down), name, "black")
    for entry, pixels in enumerate(seen.images):
        place, view = divmod(entry, views)
        corner = (LABELS + view * across, top + place * down)
        sheet.paste(_enlarged(pixels, times), corner)
        if float(seen.shares[entry]) < 1:
            text = _fitted(pen, _mixture(pen, seen, entry, images), width)
            pen.text((corner[0], corner[1] + height), text, "black")
    return sheet


def _enlarged(pixels: Tensor, times: int) -> Image.Image:
    """Pixels uint8 [3, H, W] as squares of `times` pixels along a side."""
    picture = Image.fromarray(np.ascontiguousarray(pixels.numpy().transpose(1, 2, 0)))
    size = (picture.width * times, picture.height * times)
    return picture.resize(size, Image.Resampling.NEAREST)


def _mixture(pen: ImageDraw.ImageDraw, seen: Mixed, entry: int, images: ImageSet) -> str:
    """The image's own share, and the class of its partner."""
    partner = class_of(pen, images, int(seen.partner_rows[entry]))
    return f"{float(seen.shares[entry]):.0%}, {partner}"


def class_of(pen: ImageDraw.ImageDraw, images: ImageSet, row: int) -> str:
    """The name of an image's class, or its number where the font lacks a letter of the name."""
    label = int(images.labels[row])
    name, font = images.class_names[label], pen.getfont()
    missing = bytes(font.getmask(NO_LETTER))
    lacking = any(bytes(font.getmask(letter)) == missing for letter in name)
    return f"class {label}" if lacking else name


def _fitted(pen: ImageDraw.ImageDraw, text: str, width: int) -> str:
    """The text, or as much of it as has room."""
    if pen.textlength(text) <= width:
        return text
    while text and pen.textlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def check(count: int, views: int, path: Path) -> None:
    """UsageError where no sheet can be so large, or no picture can have that name."""
    for name, value, most in (("--images", count, MAX_IMAGES), ("--views", views, MAX_VIEWS)):
        if not 1 <= value <= most:
            raise UsageError(f"{name} takes a number from 1 to {most}, not {value}.", f"{name} 8")
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise UsageError(f"{path} has no ending that names a kind of picture.", "--out views.png")
