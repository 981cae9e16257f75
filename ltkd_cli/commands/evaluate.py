"""`eval`: the scores of runs and caches, one by one and over the seeds of a setting."""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import devices, models, runs
from ..data import Data, ImageSet, load
from ..data.groups import GROUP_ALIASES, GROUP_NAMES, Groups
from ..errors import BelowThreshold, UsageError
from ..events import Event, Note, Warned
from ..methods.finding import find
from ..methods.options import options
from ..metrics import Scores
from ..runs import Run
from .caches import open_cache
from .rebalance import stage_in_words
from .settings import TrainSettings
from .testing import check_classes, score_on

SPLITS = ("all", *GROUP_NAMES)
"""What `--split` takes, beside the aliases many and few."""

SCORED_ON = ("test", "validation")
"""What `--on` takes."""


@dataclass(frozen=True)
class Scored:
    """The scores of one run, or of the teacher behind a cache."""

    name: str
    kind: str
    """`teach`, `distill`, `rebalance` or `cache`."""
    model: str
    method: str
    data: str
    """Name of the image set, and of the split the scores are from."""
    groups: str
    """The rule behind head, medium and tail, in words."""
    seed: int | None
    setting: str
    """Equal for runs that differ in nothing but the seed and their teacher's seed."""
    draw: str
    """Differs for runs of one setting unless they repeat each other."""
    scores: Scores
    seconds: float | None


def score(
    root: Path, which: list[str], device_name: str, on: str = "test"
) -> Generator[Event, None, list[Scored]]:
    """Scores of the named runs and caches; of the newest finished run where none is named.

    `on` says on which images: `test`, or `validation` for those that a run held out.
    """
    if on not in SCORED_ON:
        raise UsageError(f"--on takes {' or '.join(SCORED_ON)}, not {on!r}.", "--on validation")
    if not which:
        run = runs.newest(root)
        yield Note(f"using the newest run, {run.name}")
        return [(yield from _score_run(run, device_name, on))]
    scored = []
    for name in which:
        if _is_cache(Path(name)):
            scored.append(_score_cache(Path(name), on))
        else:
            scored.append((yield from _score_run(runs.find(root, name), device_name, on)))
    return scored


def _is_cache(path: Path) -> bool:
    named = path.suffix in (".h5", ".hdf5", ".partial")
    return named or (path.is_file() and path.suffix != ".safetensors")


def splits(name: str | None) -> tuple[str, ...]:
    """The splits that `--split NAME` asks for: all four without a name; UsageError if unknown."""
    if name is None:
        return SPLITS
    name = GROUP_ALIASES.get(name, name)
    if name not in SPLITS:
        raise UsageError(
            f"There is no split {name!r}; there are {', '.join(SPLITS)}.", "--split tail"
        )
    return (name,)


def by_setting(scored: Iterable[Scored]) -> list[list[Scored]]:
    """The scores in order, those of one setting with several seeds together.

    A repetition, with the seed and the teacher of an earlier one, stands for itself.
    """
    groups: list[list[Scored]] = []
    group_of: dict[str, list[Scored]] = {}
    for one in scored:
        group = group_of.get(one.setting)
        if group is None or one.draw in [other.draw for other in group]:
            groups.append([one])
            group_of.setdefault(one.setting, groups[-1])
        else:
            group.append(one)
    return groups


def thresholds(texts: list[str]) -> dict[str, float]:
    """The least accuracy, in [0, 1], of each split; UsageError where one is no `SPLIT=SHARE`."""
    return dict(_threshold(text) for text in texts)


def check_thresholds(scored: list[Scored], least: dict[str, float]) -> None:
    """Raises BelowThreshold where an accuracy lies under its threshold."""
    for one in scored:
        accuracies = one.scores.accuracies()
        for split, wanted in least.items():
            accuracy = accuracies[split]
            if accuracy is None or accuracy < wanted:
                shown = "n/a" if accuracy is None else f"{accuracy:.4f}"
                raise BelowThreshold(
                    f"The {split} accuracy of {one.name} is {shown}, less than {wanted}.",
                    "ltkd methods, for what may do better",
                )


def _threshold(text: str) -> tuple[str, float]:
    name, _, share = text.partition("=")
    try:
        least = float(share)
    except ValueError:
        least = math.nan
    if not 0 <= least <= 1:
        raise UsageError(
            f"--fail-under takes SPLIT=SHARE with a share in [0, 1], not {text!r}.",
            "--fail-under tail=0.35",
        )
    if GROUP_ALIASES.get(name, name) not in SPLITS:
        raise UsageError(
            f"--fail-under knows the splits {', '.join(SPLITS)}, not {name!r}.",
            f"--fail-under tail={share}",
        )
    return splits(name)[0], least


def _score_run(run: Run, device_name: str, on: str) -> Generator[Event, None, Scored]:
    run.require_done()
    settings = TrainSettings.of(run)
    device = devices.open_device(device_name)
    data = load(settings.data)
    check_classes(run, data)
    images = _images(run, data, on)
    if not images.matches(run.record["data"].get(on)):
        yield Warned(f"The {on} images of {data.name} are not those that {run.name} was scored on.")
    network = models.load(run.weights, run.verified_weights()).to(device)
    scores = score_on(images, network, data, device)
    return Scored(
        name=run.name,
        kind=run.kind,
        model=settings.model,
        method=_method_in_words(run, settings),
        data=_data_in_words(data.name, images.split, len(images.labels)),
        groups=data.groups.describe(),
        seed=settings.seed,
        setting=_setting_of(run, settings),
        draw=_draw_of(run, settings),
        scores=scores,
        seconds=run.record["seconds"],
    )


def _images(run: Run, data: Data, on: str) -> ImageSet:
    """The images to score a run on; UsageError where it held none out for validation."""
    if on == "test":
        return data.test
    if data.validation is None:
        raise UsageError(
            f"{run.name} held no images out for validation.",
            f"ltkd {run.kind} --validation 20, for a run that does",
        )
    return data.validation


def _score_cache(path: Path, on: str) -> Scored:
    if on != "test":
        raise UsageError(
            f"{path} knows its teacher's scores on the test set only.",
            "give the teacher's run in its place",
        )
    cache = open_cache(path)
    held = cache.attributes
    scores = Scores.from_dict(held["teacher_scores"])
    return Scored(
        name=path.name,
        kind="cache",
        model=held["teacher_model"]["name"],
        method=held["teacher_method"],
        data=_data_in_words(
            held["image_set"], held.get("test_split", "test"), scores.splits["all"].images
        ),
        groups=_groups_in_words(held["groups"]),
        seed=None,
        setting=str(path),
        draw="",
        scores=scores,
        seconds=None,
    )


def _method_in_words(run: Run, settings: TrainSettings) -> str:
    defaults = {option.name: option.default for option in options(find(settings.method))}
    changed = [
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in settings.options.items()
        if defaults.get(name) != value
    ]
    stages = [stage_in_words(stage) for stage in run.record.get("rebalanced", [])]
    return " + ".join([" ".join([settings.method, *changed]), *stages])


def _setting_of(run: Run, settings: TrainSettings) -> str:
    names = ("teacher_method", "teacher_model", "views_per_image")
    caches = [parent for parent in run.record["parents"] if parent["kind"] == "cache"]
    teachers = [{name: cache[name] for name in names} for cache in caches]
    stages = [(stage["how"], stage["options"]) for stage in run.record.get("rebalanced", [])]
    return json.dumps([settings.without_seed(), teachers, stages], sort_keys=True)


def _draw_of(run: Run, settings: TrainSettings) -> str:
    teachers = [parent.get("teacher_sha256") for parent in run.record["parents"]]
    return json.dumps([settings.seed, teachers])


def _data_in_words(name: str, split: str, images: int) -> str:
    return f"{split} set of {name}, {images:,} images"


def _groups_in_words(groups: dict[str, Any]) -> str:
    return Groups(groups["rule"], tuple(groups["of_class"])).describe()
