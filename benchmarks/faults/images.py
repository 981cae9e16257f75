"""Image files that are cut short, damaged, of another kind, or no files at all."""

from __future__ import annotations

import io
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image

from benchmarks.faults import story
from benchmarks.faults.calling import call, refused
from benchmarks.faults.children import Case, outcomes
from benchmarks.faults.options import MEMORY, REFUSALS
from benchmarks.faults.story import Place
from ltkd_cli.data import DataSpec, load
from ltkd_cli.errors import LtkdError

FORMATS = ("png", "jpg", "gif", "bmp", "tiff", "webp", "ppm")

CUTS, FLIPS = 40, 40
"""Of each format."""

Make = Callable[[Path], object]

ODD: dict[str, tuple[str, Make, bool]] = {
    "a FIFO": ("odd.png", os.mkfifo, True),
    "a folder": ("odd.png", Path.mkdir, False),
    "a link to nothing": ("odd.png", lambda path: path.symlink_to("nothing"), True),
    "a link to itself": ("odd.png", lambda path: path.symlink_to(path), True),
    "a link to an endless file": ("odd.png", lambda path: path.symlink_to("/dev/zero"), True),
    "an empty file": ("odd.png", Path.touch, True),
    "a text": ("odd.jpg", lambda path: path.write_text("<html>404</html>"), True),
    "an SVG": ("odd.png", lambda path: path.write_text("<svg xmlns='x'/>"), True),
    "a zip": ("odd.png", lambda path: path.write_bytes(b"PK\x03\x04" * 100), True),
    "a JPEG that is called PNG": ("odd.png", lambda path: _image().save(path, "JPEG"), False),
    "a name in capitals": ("ODD.PNG", lambda path: _image().save(path, "PNG"), False),
    "a name that is not UTF-8": ("odd\udcff.png", lambda path: _image().save(path, "PNG"), False),
    "a name with an escape": ("o\x1b[31md.png", lambda path: _image().save(path, "PNG"), False),
    "a name with a line end": ("o\nd.png", lambda path: _image().save(path, "PNG"), False),
    "a long name": ("o" * 250 + ".png", lambda path: _image().save(path, "PNG"), False),
    "one pixel": ("odd.png", lambda path: Image.new("RGB", (1, 1)).save(path), False),
    "one row": ("odd.png", lambda path: Image.new("RGB", (9000, 1)).save(path), False),
    "huge by its header": ("odd.png", lambda path: path.write_bytes(_huge()), True),
    "a bomb": ("odd.png", lambda path: Image.new("L", (14000, 14000)).save(path), False),
    "CMYK": ("odd.jpg", lambda path: Image.new("CMYK", (9, 9)).save(path), False),
    "16 bits": ("odd.png", lambda path: _array("uint16").save(path), False),
    "32 bits": ("odd.tiff", lambda path: _array("int32").save(path), True),
    "floats": ("odd.tiff", lambda path: _array("float32").save(path), False),
    "floats that are not numbers": ("odd.tiff", lambda path: _array("nan").save(path), True),
    "a palette with transparency": ("odd.png", lambda path: _palette().save(path), False),
    "one bit": ("odd.png", lambda path: Image.new("1", (9, 9)).save(path), False),
    "several frames": ("odd.gif", lambda path: _frames(path), False),
}
"""Name of the file, what makes it, and whether it has to be refused."""


def odd_images(place: Place, random: Random, share: float) -> Iterator[tuple[str, str]]:
    """Name of each image, and what is wrong with what became of it."""
    cases = [
        Case(name, partial(_odd, place, *how))
        for name, how in ODD.items()
        if random.random() < share
    ]
    for ending in FORMATS:
        data = _encoded(ending)
        for _ in range(round(CUTS * share)):
            end = random.randrange(len(data))
            work = partial(_cut, place, ending, data, end)
            cases.append(Case(f"{ending} cut at {end} of {len(data)}", work))
        for _ in range(round(FLIPS * share)):
            byte, bit = random.randrange(len(data)), random.randrange(8)
            work = partial(_flipped, place, ending, data, byte, bit)
            cases.append(Case(f"{ending} with bit {bit} of byte {byte} flipped", work))
    yield from zip((case.name for case in cases), outcomes(cases, 60.0), strict=True)


def _enter(place: Place) -> Path:
    """Where an odd image goes, in a small image folder."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    folder = place.cases / "images"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(place.told / "images", folder / "images")
    story.enter(folder)
    return folder / "images/train/cat"


def _odd(place: Place, name: str, make: Make, must: bool) -> str:
    path = _enter(place) / name
    try:
        make(path)
    except OSError:
        return ""  # the file system has no such names
    found = []
    for command in (("data", "images"), ("doctor", "images")):
        said = call(*command)
        if "\x1b" in said.out + said.err:
            return "an escape for the terminal"
        listed = command[0] == "doctor" and said.code == 1 and said.out
        if (said.code or must) and not listed:
            found.append(refused(said, REFUSALS))
    return next(filter(None, found), "")


def _cut(place: Place, ending: str, data: bytes, end: int) -> str:
    """Refused, or decoded to the pixels of the whole file."""
    path = _enter(place) / f"0.{ending}"
    shutil.rmtree(path.parent)
    path.parent.mkdir()
    pixels = []
    for content in (data, data[:end]):
        path.write_bytes(content)
        try:
            train = load(DataSpec("images", image_size=16)).train
        except LtkdError as error:
            return "" if path.name in error.problem else str(error)
        row = train.labels.tolist().index(0)
        pixels.append(train.images.gather(torch.tensor([row])))
    whole, cut = pixels
    same = all(map(torch.equal, whole, cut))
    return "" if same else "other pixels without a word"


def _flipped(place: Place, ending: str, data: bytes, byte: int, bit: int) -> str:
    path = _enter(place) / f"odd.{ending}"
    changed = bytearray(data)
    changed[byte] ^= 1 << bit
    path.write_bytes(changed)
    said = call("data", "images")
    return "" if said.code == 0 else refused(said, REFUSALS)


def _image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))


def _encoded(ending: str) -> bytes:
    data = io.BytesIO()
    _image().save(data, {"jpg": "JPEG", "tiff": "TIFF"}.get(ending, ending))
    return data.getvalue()


def _array(kind: str) -> Image.Image:
    values = np.linspace(0, 1, 64).reshape(8, 8)
    if kind == "nan":
        return Image.fromarray(np.full((8, 8), np.nan, np.float32))
    return Image.fromarray((values if kind == "float32" else values * 60000).astype(kind))


def _palette() -> Image.Image:
    image = _image().convert("P")
    image.info["transparency"] = 3
    return image


def _frames(path: Path) -> None:
    frames = [Image.new("L", (9, 9), value) for value in (0, 90, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def _huge() -> bytes:
    data = bytearray(_encoded("png"))
    data[16:24] = (2_000_000).to_bytes(4, "big") * 2
    return bytes(data)
