"""Which runs are seeds of one setting.

Two are when their resolved settings are equal but for the seed, the images that they were
trained, validated and tested on are equal, and their teachers are seeds of one setting in turn.
Nothing else may be averaged.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from ..runs import Run
from .settings import Settings

MACHINE = ("seed", "device", "resident", "evaluate_every", "caches", "recipe_name", "weights")
"""Settings that do not tell one setting from another.

The machine and evaluations in between do not decide what is learned, caches and weight files are
compared by what they hold, and the recipe by its fields.
"""

PLACES = ("data", "root", "test_list", "download", "store")
"""Where images lie, how they got there, how they are kept; fingerprints say which they are."""

EXPORT = (
    *("fingerprint", "policy", "view_policy", "view_seed", "view_version", "views_per_image"),
    *("dtype", "autocast"),
)
"""What a parent record says of a cache beside its teacher, as far as students may depend on it."""

STAGE = ("how", "options", "views", "recipe", "validation_images", "validation_held_out")
"""What decides a post-hoc adjustment or a re-training of the classifier."""


def setting_of(run: Run) -> dict[str, Any]:
    """All that runs of one setting have in common, as JSON: equal for them, and for no others."""
    record = run.record
    return {
        "settings": _resolved(Settings.of(run)),
        "images": {split: record["data"].get(split) for split in ("train", "validation", "test")},
        "teachers": [_teacher(parent) for parent in _caches(run)],
        "stages": [
            {name: stage.get(name) for name in STAGE} for stage in record.get("rebalanced", [])
        ],
    }


def draw_of(run: Run) -> str:
    """Equal for runs of one setting that repeat each other: the seed, and the teachers' weights."""
    teachers = [parent.get("teacher_sha256") for parent in _caches(run)]
    return json.dumps([Settings.of(run).seed, teachers])


def _resolved(settings: Settings) -> dict[str, Any]:
    values = settings.as_json()
    kept = {name: value for name, value in values.items() if name not in MACHINE}
    kept["data"] = {name: value for name, value in kept["data"].items() if name not in PLACES}
    as_json: dict[str, Any] = json.loads(json.dumps(kept))
    return as_json


def _caches(run: Run) -> list[dict[str, Any]]:
    return [parent for parent in run.record["parents"] if parent["kind"] == "cache"]


def _teacher(parent: dict[str, Any]) -> dict[str, Any]:
    """A teacher's setting, with that of its cache.

    A record of 0.1.0 does not hold it: there only the very same cache is known to be equal.
    """
    if parent.get("teacher_setting") is None:
        return {"cache": parent["crc_sha256"], "teacher": parent["teacher_sha256"]}
    export = {name: parent.get(name) for name in EXPORT}
    return {"teacher": _with_defaults(parent["teacher_setting"]), **export}


def _with_defaults(setting: Any) -> Any:
    """A setting that was recorded before some settings existed, with what stood for them."""
    if isinstance(setting, list):
        return [_with_defaults(each) for each in setting]
    if not isinstance(setting, dict):
        return setting
    found = {name: _with_defaults(value) for name, value in setting.items()}
    if isinstance(found.get("settings"), dict):
        found["settings"] = {**_DEFAULTS, **found["settings"]}
    return found


_DEFAULTS = {
    field.name: json.loads(json.dumps(field.default))
    for field in dataclasses.fields(Settings)
    if field.default is not dataclasses.MISSING and field.name not in MACHINE
}
