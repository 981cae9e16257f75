"""All settings of a training, resolved: what run.json holds and a resumed run reads back.

This file loads no PyTorch, since the options of the command line take their defaults from here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import records
from ..errors import RunError, UsageError
from ..training.recipe import Recipe
from ..training.recipe import check as check_recipe

if TYPE_CHECKING:
    from ..data import DataSpec
    from ..runs import Run

AUGMENTATIONS = ("none", "jitter")
"""Values of `augment`."""

DEFAULT_VIEWS = 16
"""Of each image in a cache, or of those whose features a frozen backbone computes."""

MAX_VIEWS = 10_000

USUAL_STATISTICS = {"--mean": "0.485,0.456,0.406", "--std": "0.229,0.224,0.225"}
"""Mean and standard deviation that most networks trained on ImageNet expect."""

PATHS = ("data", "root", "test_list")
"""Fields of a DataSpec that may be paths."""


@dataclass(frozen=True)
class Settings:
    """Settings of `teach` and `distill`, by the names that run.json knows them by.

    Those of a run have nothing left open: an empty text stands only until `prepare` fills it.
    """

    data: DataSpec
    model: str
    method: str
    recipe_name: str
    recipe: Recipe
    evaluate_every: int
    """Epochs between evaluations on the validation images, else the test set; 0 for none."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of the method, all of them."""
    head: str = ""
    """Last layer; the method's unless it is given."""
    pretrained: bool = False
    weights: str = ""
    """Path of a file that training begins from; the head is new."""
    weights_sha256: str = ""
    """Of that file."""
    mean: tuple[float, float, float] | None = None
    """Of the pixels that those weights were trained with; None for the usual ones."""
    std: tuple[float, float, float] | None = None
    """Standard deviation of the same."""
    freeze: str = ""
    """What stays as it is: `all` of the backbone, or `stages:N` for its stem and N stages."""
    feature_views: int | None = None
    """Views of each image that a frozen backbone computes; None where it is not frozen."""
    views: str = ""
    """View policy; that of the caches, or the one that suits the data set."""
    view_seed: int = 0
    caches: tuple[str, ...] = ()
    """Paths, as they were given."""
    augment: str = "none"
    """`jitter` varies the colours of a teacher's training images."""
    classes: str = "all"
    """`head`, `medium` or `tail` for an expert that is trained on the images of that group."""
    seed: int = 0
    precision: str = "auto"
    device: str = "auto"
    compile: bool = False
    """Whether torch.compile computes the forward pass."""
    resident: str = "auto"
    """Whether images and teacher outputs are kept on a GPU: `auto`, `always` or `never`."""
    processes: int = 1
    """That share each batch; batch normalisation is by the part that each has."""

    def as_json(self) -> dict[str, Any]:
        """Plain dictionaries and lists."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: object) -> Settings:
        """The settings that `as_json` gave; ValueError names a field that does not fit."""
        from ..data import DataSpec  # loads PyTorch

        return records.from_json(cls, values, DataSpec=DataSpec)

    @classmethod
    def of(cls, run: Run) -> Settings:
        """The settings of a run; RunError where its run.json holds some that nobody can use."""
        from ..methods.finding import find  # loads PyTorch
        from ..methods.options import check_options
        from ..views.policy import Policy

        try:
            settings = cls.from_json(run.settings)
            check_recipe(settings.recipe)
            check_options(find(settings.method), settings.options)
            Policy(settings.views)
            check_freeze(settings.freeze)
        except (ValueError, UsageError) as error:
            why = str(error).rstrip(".")
            raise RunError(
                f"The settings in {run.path / 'run.json'} cannot be used: {why}.",
                run.anew(),
            ) from error
        return settings


def check_freeze(freeze: str) -> None:
    """UsageError where that is not what can be frozen."""
    kind, _, number = freeze.partition(":")
    stages = kind == "stages" and number.isascii() and number.isdecimal()
    if freeze not in ("", "all") and not stages:
        raise UsageError(
            f"--freeze takes nothing, all or stages:N, not {freeze!r}.", "--freeze stages:2"
        )


def check_normalisation(
    given: Mapping[str, tuple[float, float, float]], *, has_weights: bool
) -> None:
    """UsageError unless `mean` and `std` are both given, or neither, and weights besides."""
    typed = {
        f"--{name}": ",".join(f"{value:g}" for value in values) for name, values in given.items()
    }
    both = {**USUAL_STATISTICS, **typed}
    known = " ".join(f"{option} {text}" for option, text in both.items())
    if len(typed) == 1:
        (option,) = typed
        (absent,) = both.keys() - typed
        raise UsageError(f"{option} is given without {absent}.", known)
    if typed and not has_weights:
        raise UsageError(
            "--mean and --std belong to --weights, which is not given.", f"--weights FILE {known}"
        )


@dataclass(frozen=True)
class Watch:
    """What else to write while a run trains; it changes nothing about the run."""

    tensorboard: bool = False
    """Event files in the run's folder `tensorboard`."""
    profile: bool = False
    """A trace of a few steps, `trace.json`, and a table of their costs, `profile.txt`."""


def with_images(spec: DataSpec, given: dict[str, Any]) -> DataSpec:
    """The description with the given fields; another data set brings its own defaults along.

    Paths become absolute, so that a run knows its images from whatever folder it is called.
    """
    given = {name: _absolute(name, value) for name, value in given.items()}
    base = spec if given.get("data", spec.data) == spec.data else type(spec)()
    return dataclasses.replace(base, **given)


def moved(spec: DataSpec, place: dict[str, Any]) -> DataSpec:
    """The description of the same images in another place, of which `place` has some fields.

    With another `data`, root and test list are those that belong to it unless they are given.
    """
    place = {name: _absolute(name, value) for name, value in place.items()}
    found = {"root": None, "test_list": None, "download": False} if "data" in place else {}
    return dataclasses.replace(spec, **found | place)


def _absolute(name: str, value: Any) -> Any:
    from ..data import absolute  # loads PyTorch

    return absolute(value) if name in PATHS and value is not None else value
