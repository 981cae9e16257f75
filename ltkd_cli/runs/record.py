"""The record in run.json: its fields, its checksum, and the one place where both are checked."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypedDict

from ..records import Count, Invalid, between, checked

FORMAT = 2
"""Of a run folder. In format 1, that of version 0.1, nothing has a checksum."""

CHECKSUM = "checksum"
"""Field with the checksum of all others."""

MAX_SEQUENCE = 10**15

MAX_THREADS = 4096

Kind = Literal["teach", "distill", "rebalance"]
Status = Literal["started", "running", "interrupted", "failed", "done"]


def parse_date(text: str) -> datetime:
    """An ISO date with its time zone; ValueError for any other text."""
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("must be an ISO date") from None
    if date.tzinfo is None:
        raise ValueError("must be a date with a time zone")
    return date


def _is_sha256(text: str) -> None:
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise ValueError("must be 64 hexadecimal digits")


Share = Annotated[float, between(0, 1)]
Seconds = Annotated[float, between(0, 1e12)]
Sha256 = Annotated[str, _is_sha256]


class _IntervalRecord(TypedDict):
    low: Share | None
    high: Share | None
    images: Count
    classes: Count


class AccuracyRecord(_IntervalRecord):
    accuracy: Share | None


class _BalancedRecord(_IntervalRecord):
    accuracy: Share


class ScoresRecord(TypedDict):
    all: AccuracyRecord
    head: AccuracyRecord
    medium: AccuracyRecord
    tail: AccuracyRecord
    balanced_accuracy: _BalancedRecord
    macro_f1: Share
    nll: float
    ece: float


class GroupsRecord(TypedDict):
    rule: str
    of_class: list[Literal["head", "medium", "tail"]]


class _DataRecord(TypedDict):
    name: str
    train: str
    test: str
    class_names: list[str]
    class_counts: list[Count]
    groups: GroupsRecord


class DataRecord(_DataRecord, total=False):
    test_split: str
    validation: str | None


class _TeacherWeightsRecord(TypedDict):
    source: str
    sha256: str


class TeacherWeightsRecord(_TeacherWeightsRecord, total=False):
    mean: str
    std: str


class _CacheParent(TypedDict):
    kind: Literal["cache"]
    path: str
    crc_sha256: str
    teacher_sha256: str
    teacher_method: str
    teacher_model: str
    views_per_image: Count


class CacheParent(_CacheParent, total=False):
    """A cache that a student learned from; what version 0.1 did not record is optional."""

    fingerprint: str
    dtype: Literal["float16", "float32", "uint8"]
    features: bool
    autocast: str | None
    policy: dict[str, Any] | None
    view_policy: str
    view_seed: int
    view_version: int | None
    teacher_run: str
    teacher_runs: dict[str, str]
    teacher_outputs: dict[str, str]
    teacher_files: dict[str, str]
    teacher_weights: TeacherWeightsRecord | None
    teacher_setting: dict[str, Any] | None


class RunParent(TypedDict):
    kind: Literal["run"]
    name: str
    path: str
    weights_sha256: Sha256


class StageOptions(TypedDict):
    strength: float | None
    validation: int | None
    views: int


class _StageRecord(TypedDict):
    how: str
    options: StageOptions


class StageRecord(_StageRecord, total=False):
    """A rebalancing; which of these it has depends on its strategy."""

    strength: float
    temperature: float
    recipe: dict[str, Any]
    views: int
    validation_images: Count
    validation_held_out: bool


class _SettingsRecord(TypedDict):
    method: str


class SettingsRecord(_SettingsRecord, total=False):
    """What is read without `Settings.of`, which checks all of them."""

    model: str
    classes: str
    seed: int
    processes: int
    caches: list[str]
    data: dict[str, Any]
    recipe: dict[str, Any]
    options: dict[str, Any]


class _Record(TypedDict):
    format: Annotated[int, between(1, FORMAT)]
    kind: Kind
    label: str
    status: Status
    created: Annotated[str, parse_date]
    settings: Annotated[dict[str, Any], SettingsRecord]


class Record(_Record, total=False):
    """What run.json holds; fields of a later version are kept as they are."""

    checksum: str
    sequence: Annotated[int, between(1, MAX_SEQUENCE)]
    """Place in the order in which the runs of one folder began; missing before version 0.2."""
    command: list[str]
    environment: dict[str, str]
    data: Annotated[dict[str, Any], DataRecord]
    parents: Annotated[list[dict[str, Any]], list[CacheParent | RunParent]]
    threads: Annotated[int, between(1, MAX_THREADS)]
    seconds: Seconds
    rebalanced: Annotated[list[dict[str, Any]], list[StageRecord]]
    weights_sha256: Sha256
    parameters: Count
    train_images: Count
    scores: Annotated[dict[str, Any], ScoresRecord]
    validation_scores: Annotated[dict[str, Any], ScoresRecord] | None


OF_TRAINING = ("data", "parents", "seconds")
"""What a training knows from its start, and every run at its end."""

OF_DONE = ("weights_sha256", "scores")
"""What a run has once it is done."""


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with their checksum, in place of the one that they may have."""
    rest = {name: value for name, value in values.items() if name != CHECKSUM}
    return {**rest, CHECKSUM: _checksum(rest)}


def is_sealed(values: Mapping[str, Any]) -> bool:
    """Whether the values are those that their checksum was taken of."""
    return CHECKSUM in values and sealed(values)[CHECKSUM] == values[CHECKSUM]


def _checksum(values: Mapping[str, Any]) -> str:
    """The first 16 digits of the SHA-256 of values as JSON, in the order of their names."""
    as_read = json.loads(json.dumps(values))
    text = json.dumps(as_read, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check(values: Any) -> Record:
    """The record in `values`, parsed JSON; Invalid names the field that is not as it must be."""
    record: Record = checked(values, Record)
    needed = OF_TRAINING if record["kind"] != "rebalance" or record["status"] == "done" else ()
    for name in (*needed, *(OF_DONE if record["status"] == "done" else ())):
        if name not in record:
            raise Invalid(f"{name} is missing")
    classes = len(record["data"]["class_names"]) if "data" in record else 0
    if "data" in record and classes != len(record["data"]["groups"]["of_class"]):
        raise Invalid("data.groups.of_class must hold as many values as data.class_names")
    return record
