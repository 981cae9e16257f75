"""`config.toml` of a run: its settings by the names of the options, for `--config`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import toml
from ..files import without_parents, write_atomically
from ..runs import Run

if TYPE_CHECKING:
    from .rebalance_options import Rebalancing
    from .settings import Settings

NAMES = {
    "options": "set",
    "caches": "cache",
    "views": "policy",
    "recipe_name": "recipe",
    "root": "data-root",
}
"""Fields of Settings, of DataSpec and of Recipe whose options have another name."""

OF_TEACH = ("views", "augment", "classes", "weights", "mean", "std", "freeze", "feature_views")
"""Fields that only `teach` takes; a student has those of its cache."""

NOT_SHARED = (
    *("data", "recipe", "options", "caches", "view_seed", "weights_sha256", "processes"),
    *OF_TEACH,
)
"""Fields that are no option of the same name that both commands have."""


def of_training(
    kind: str, settings: Settings, source: Path | None = None, *, force: bool = False
) -> dict[str, Any]:
    """The options that repeat a `teach` or `distill`; `source` is a cache of which only the
    images and views are used."""
    values = dataclasses.asdict(settings)
    found = {name: value for name, value in values.items() if name not in NOT_SHARED}
    if kind == "teach":
        found |= {name: values[name] for name in OF_TEACH}
    elif caches := settings.caches or ((str(source),) if source else ()):
        found["caches"] = [str(without_parents(Path(cache))) for cache in caches]
    if force:
        found["force"] = True
    found |= values["data"] | values["recipe"]
    milestones = ",".join(map(repr, settings.recipe.milestones))
    options = {"milestones": milestones, "options": values["options"]}
    return _with_hyphens({NAMES.get(name, name): each for name, each in (found | options).items()})


def of_rebalancing(source: Run, asked: Rebalancing) -> dict[str, Any]:
    """The options that repeat a `rebalance` of the run `source`."""
    values = dataclasses.asdict(asked)
    place = of_place(values.pop("place"))
    return _with_hyphens({"run": str(without_parents(source.path)), **values}) | place


def of_place(place: dict[str, Any]) -> dict[str, Any]:
    """The options that say where images lie, of fields of a DataSpec."""
    return _with_hyphens({NAMES.get(name, name): value for name, value in place.items()})


def write(run: Run, values: dict[str, Any], threads: int | None = None) -> None:
    """Writes config.toml into the run's folder; nothing where a path is not plain text."""
    try:
        text = toml.written(values)
    except UnicodeEncodeError:
        return
    together = f", by {run.processes} processes of torchrun" if run.processes > 1 else ""
    note = f"# Trained with OMP_NUM_THREADS={threads}{together}.\n" if threads else ""
    write_atomically(run.config, note + text)


def _with_hyphens(values: dict[str, Any]) -> dict[str, Any]:
    """The values that say something, by the names of their options."""
    return {
        name.replace("_", "-"): value
        for name, value in values.items()
        if value not in (None, "", {}) or name == "milestones"  # which may be none at all
    }
