"""What a cache says of itself: checked when it is read, and as plain HDF5 attributes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal, TypedDict, cast

from .. import __version__
from ..records import Count, checked, parse_json

PLAIN = (bool, int, float, str)
"""Types that HDF5 has of its own; every other value is stored as JSON text."""

LARGEST = 2**63
"""Whole numbers beyond this, too, are stored as JSON text."""

HUGE = 2**128
"""Whole numbers beyond this are stored by nobody."""

LIBRARIES = ("torch", "torchvision", "h5py")
"""Packages whose versions a cache names, beside ltkd's own."""


class Score(TypedDict, total=False):
    """One accuracy of the teacher on its test images."""

    accuracy: float | None


class _TeacherModel(TypedDict):
    name: str


class TeacherModel(_TeacherModel, total=False):
    head: str


class _TeacherWeights(TypedDict):
    source: str
    sha256: str


class TeacherWeights(_TeacherWeights, total=False):
    """Where a teacher's weights came from that is no run."""

    part: str
    prefix: str


class Groups(TypedDict):
    rule: str
    of_class: list[str]


class _Attributes(TypedDict):
    format: int
    fingerprint: str
    class_names: list[str]
    class_counts: list[Count]


class Attributes(_Attributes, total=False):
    """Attributes with a meaning here; others exist, and are kept as they are."""

    test_fingerprint: str
    image_set: str
    data_spec: dict[str, Any]
    groups: Groups | None
    policy: Any
    view_policy: str
    view_seed: int
    view_version: int
    teacher_run: str
    teacher_sha256: str
    teacher_model: TeacherModel | None
    teacher_method: str
    teacher_classes: list[Count] | None
    teacher_weights: TeacherWeights | None
    teacher_runs: dict[str, str]
    teacher_outputs: dict[str, str]
    teacher_files: dict[str, str]
    teacher_recipe: dict[str, Any]
    teacher_setting: dict[str, Any] | None
    teacher_scores: dict[str, Score | float | None]
    test_split: str
    autocast: str | None
    device: str
    created: str
    ltkd: str
    torch: str
    torchvision: str
    h5py: str


@dataclass(frozen=True)
class Place:
    """Where a dataset lies in the file."""

    type: Literal["<f2", "<f4", "|u1", "<i8", "<i4", "<u4"]
    """NumPy's name of the element type."""
    shape: tuple[Count, ...]
    offset: Count
    """First byte."""


class Record(TypedDict):
    """A cache file's own description."""

    attributes: Attributes
    datasets: dict[str, Place | None]
    """None for one that is no contiguous range of bytes."""


def described(text: bytes) -> Record:
    """The description in a JSON text; ValueError says what is wrong with it, in words."""
    return cast(Record, checked(parse_json(text, HUGE), Record))


def as_read(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as a reader gets them; ValueError where it would refuse them."""
    record = described(json_text({"attributes": dict(attributes), "datasets": {}}).encode())
    return dict(record["attributes"])


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
