"""What a cache says of itself: checked when it is read, and as plain HDF5 attributes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from .. import __version__

PLAIN = (bool, int, float, str)
"""Types that HDF5 has of its own; every other value is stored as JSON text."""

LARGEST = 2**63
"""Whole numbers beyond this, too, are stored as JSON text."""

LIBRARIES = ("torch", "torchvision", "h5py")
"""Packages whose versions a cache names, beside ltkd's own."""


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class Score(_Record):
    """One accuracy of the teacher on its test images."""

    accuracy: float | None = None


class TeacherModel(_Record):
    name: str
    head: str = "linear"


class Groups(_Record):
    rule: str
    of_class: list[str]


class Attributes(_Record):
    """Attributes with a meaning here; those with a default may be absent, and others exist."""

    format: int
    fingerprint: str
    class_names: list[str]
    class_counts: list[NonNegativeInt]
    test_fingerprint: str = ""
    image_set: str = ""
    data_spec: dict[str, Any] = {}
    groups: Groups | None = None
    policy: Any = None
    view_policy: str = ""
    view_seed: int = 0
    view_version: int = 0
    teacher_run: str = ""
    teacher_sha256: str = ""
    teacher_model: TeacherModel | None = None
    teacher_method: str = ""
    teacher_classes: list[NonNegativeInt] | None = None
    teacher_recipe: dict[str, Any] = {}
    teacher_scores: dict[str, Score | float | None] = {}
    test_split: str = ""
    autocast: str | None = None
    device: str = ""
    created: str = ""
    ltkd: str = ""
    torch: str = ""
    torchvision: str = ""
    h5py: str = ""


class Place(BaseModel, strict=True, extra="forbid"):
    """Where a dataset lies in the file."""

    type: Literal["<f2", "<f4", "|u1", "<i8", "<i4", "<u4"]
    """NumPy's name of the element type."""
    shape: list[NonNegativeInt]
    offset: NonNegativeInt
    """First byte."""


class Record(BaseModel, strict=True, extra="allow"):
    """A cache file's own description."""

    attributes: Attributes
    datasets: dict[str, Place | None]
    """None for one that is no contiguous range of bytes."""


def described(text: bytes | str) -> Record:
    """The description in a JSON text; ValueError says what is wrong with it, in words."""
    try:
        return Record.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where!a}: {first['msg']}".replace("'", "`")) from None


def as_read(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as a reader gets them; ValueError where it would refuse them."""
    record = described(json_text({"attributes": dict(attributes), "datasets": {}}))
    return record.attributes.model_dump(exclude_unset=True)


def encode(attributes: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Attributes as plain values; `json` lists the names of those that became JSON text."""
    nested = sorted(name for name, value in attributes.items() if not _is_plain(value))
    texts = {name: json_text(attributes[name]) for name in nested}
    return {**attributes, **texts, "json": json_text(nested)}


def json_text(value: Any) -> str:
    """JSON on one line, with letters outside ASCII as they are."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def software_versions() -> dict[str, str]:
    """Version of every package that shapes the numbers, by name."""
    return {"ltkd": __version__, **{name: version(name) for name in LIBRARIES}}


def _is_plain(value: Any) -> bool:
    if isinstance(value, int) and not -LARGEST <= value < LARGEST:
        return False
    return isinstance(value, PLAIN)
