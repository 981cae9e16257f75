"""`eval`: the scores of runs and caches, one by one and over the seeds of a setting."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import devices, models, runs
from ..cache import Cache
from ..data import Data, load
from ..errors import BelowThreshold, DataMismatch, RunError, UsageError
from ..evaluate import Scores
from ..events import Caution, Event, Note
from ..method import find, options
from ..runs import Run
from ..splits import GROUP_ALIASES, GROUP_NAMES, Groups
from .settings import TrainSettings
from .testing import score_on_test

SPLITS = ("all", *GROUP_NAMES)
"""What `--split` takes, beside the aliases many and few."""


@dataclass(frozen=True)
class Scored:
    """The scores of one run, or of the teacher behind a cache."""

    name: str
    kind: str
    """`teach`, `distill` or `cache`."""
    model: str
    method: str
    data: str
    """Name of the image set, and of the split the scores are from."""
    groups: str
    """The rule behind head, medium and tail, in words."""
    seed: int | None
    setting: str
    """Equal for runs that differ in nothing but the seed and their teacher's seed."""
    scores: Scores
    seconds: float | None


def score(root: Path, which: list[str], device_name: str) -> Generator[Event, None, list[Scored]]:
    """Scores of the named runs and caches; of the newest finished run where none is named."""
    if not which:
        run = runs.newest(root)
        yield Note(f"using the newest run, {run.name}")
        return [(yield from _score_run(run, device_name))]
    scored = []
    for name in which:
        if Path(name).is_file() and Path(name).suffix != ".safetensors":
            scored.append(_score_cache(Path(name)))
        else:
            scored.append((yield from _score_run(runs.find(root, name), device_name)))
    return scored


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
    """The scores in order, those of one setting with several seeds together."""
    found: dict[str, list[Scored]] = {}
    for one in scored:
        found.setdefault(one.setting, []).append(one)
    return list(found.values())


def check_thresholds(scored: list[Scored], thresholds: list[str]) -> None:
    """Raises BelowThreshold where an accuracy lies under its `SPLIT=SHARE`."""
    for threshold in thresholds:
        name, _, text = threshold.partition("=")
        (split,) = splits(name or "?")
        try:
            least = float(text)
        except ValueError:
            raise UsageError(
                f"--fail-under takes SPLIT=SHARE, not {threshold!r}.", "--fail-under tail=0.35"
            ) from None
        for one in scored:
            accuracy = one.scores.accuracies()[split]
            if accuracy is None or accuracy < least:
                shown = "n/a" if accuracy is None else f"{accuracy:.4f}"
                raise BelowThreshold(
                    f"The {split} accuracy of {one.name} is {shown}, less than {least}.",
                    f"ltkd eval {one.name}",
                )


def _score_run(run: Run, device_name: str) -> Generator[Event, None, Scored]:
    if not run.done:
        raise RunError(
            f"{run.name} is not finished (it is {run.record['status']}).",
            f"ltkd {run.kind} --resume {run.name}",
        )
    settings = TrainSettings.from_json(run.settings)
    device = devices.choose_device(device_name)
    data = load(settings.data)
    _check_classes(run, data)
    if data.test.fingerprint != run.record["data"]["test"]:
        yield Caution(
            f"The test images of {data.name} are not those that {run.name} was scored on."
        )
    network = models.load(run.weights).to(device)
    scores = score_on_test(network, data, device)
    return Scored(
        name=run.name,
        kind=run.kind,
        model=settings.model,
        method=_method_in_words(settings),
        data=f"{data.name}, {data.test.split} set of {len(data.test.labels):,} images",
        groups=data.groups.describe(),
        seed=settings.seed,
        setting=_setting_of(run, settings),
        scores=scores,
        seconds=run.record["seconds"],
    )


def _score_cache(path: Path) -> Scored:
    cache = Cache.open(path)
    held = cache.attributes
    return Scored(
        name=path.name,
        kind="cache",
        model=held["teacher_model"]["name"],
        method=held["teacher_method"],
        data=f"{held['image_set']}, test set",
        groups=_groups_in_words(held["groups"]),
        seed=None,
        setting=str(path),
        scores=Scores.from_dict(held["teacher_scores"]),
        seconds=None,
    )


def _check_classes(run: Run, data: Data) -> None:
    trained = len(run.record["data"]["class_counts"])
    if trained != len(data.test.class_names):
        raise DataMismatch(
            f"{run.name} knows {trained} classes, and {data.name} has "
            f"{len(data.test.class_names)}.",
            "give the images that the run was trained on",
        )


def _method_in_words(settings: TrainSettings) -> str:
    defaults = {option.name: option.default for option in options(find(settings.method))}
    changed = [
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in settings.options.items()
        if defaults.get(name) != value
    ]
    return " ".join([settings.method, *changed])


def _setting_of(run: Run, settings: TrainSettings) -> str:
    names = ("teacher_method", "teacher_model", "views_per_image")
    parents = [{name: parent[name] for name in names} for parent in run.record["parents"]]
    return json.dumps([settings.without_seed(), parents], sort_keys=True)


def _groups_in_words(groups: dict[str, Any]) -> str:
    return Groups(groups["rule"], tuple(groups["of_class"])).describe()
