"""All settings of a training, resolved: what run.json holds and a resumed run reads back."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from .. import records
from ..data import DataSpec, absolute
from ..errors import RunError, UsageError, command
from ..methods.finding import find
from ..methods.options import check_options
from ..runs import Run
from ..training.recipe import Recipe
from ..training.recipe import check as check_recipe

PATHS = ("data", "root", "test_list")
"""Fields of a DataSpec that may be paths."""


@dataclass(frozen=True)
class TrainSettings:
    """Settings of `teach` and `distill`, without anything left to a default."""

    data: DataSpec
    model: str
    head: str
    pretrained: bool
    method: str
    options: dict[str, Any]
    recipe_name: str
    recipe: Recipe
    views: str
    """View policy."""
    view_seed: int
    caches: tuple[str, ...]
    seed: int
    precision: str
    device: str
    evaluate_every: int
    """Epochs between looks at the validation images, else the test set; 0 for none."""
    augment: str = "none"
    """`jitter` gives a teacher other colours to learn from."""
    classes: str = "all"
    """`head`, `medium` or `tail` for an expert that is trained on the images of that group."""
    compile: bool = False
    """Whether torch.compile computes the forward pass."""
    resident: str = "auto"
    """Whether images and teacher outputs are kept on a GPU: `auto`, `always` or `never`."""

    def as_json(self) -> dict[str, Any]:
        """Plain dictionaries and lists."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Any) -> TrainSettings:
        """The settings that `as_json` gave; ValueError names a field that does not fit."""
        return records.from_json(cls, values)

    @classmethod
    def of(cls, run: Run) -> TrainSettings:
        """The settings of a run; RunError where its run.json holds some that nobody can use."""
        try:
            settings = cls.from_json(run.settings)
            check_recipe(settings.recipe)
            check_options(find(settings.method), settings.options)
        except (ValueError, UsageError) as error:
            raise RunError(
                f"The settings in {run.path / 'run.json'} cannot be used: {error}",
                command(run.kind, remark="for a new run"),
            ) from error
        return settings

    def without_seed(self) -> dict[str, Any]:
        """What several seeds of one setting have in common."""
        values = self.as_json()
        for name in ("seed", "device", "evaluate_every", "caches", "resident"):
            del values[name]
        return values


def with_images(spec: DataSpec, given: dict[str, Any]) -> DataSpec:
    """The description with the given fields; another data set brings its own defaults along.

    Paths become absolute, so that a run knows its images from whatever folder it is called.
    """
    given = {name: _absolute(name, value) for name, value in given.items()}
    base = spec if given.get("data", spec.data) == spec.data else DataSpec()
    return dataclasses.replace(base, **given)


def _absolute(name: str, value: Any) -> Any:
    return absolute(value) if name in PATHS and value is not None else value
