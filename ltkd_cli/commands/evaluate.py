"""`eval`: the scores of runs and caches, one by one and over the seeds of a setting."""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import devices, models, runs
from ..data import Data, ImageSet, load
from ..data.decoded import Progress
from ..data.files import name_some
from ..data.groups import Groups
from ..errors import BelowThreshold, CacheMismatch, UsageError, command
from ..events import Event, ImagesKept, Note, Warned
from ..inference import evaluate
from ..methods.finding import find
from ..methods.options import options
from ..metrics import Scores
from ..records import Invalid, checked
from ..runs import Run
from ..runs.record import ScoresRecord
from ..splits import GROUP_ALIASES, SPLITS
from ..views.policy import Policy
from .caches import open_cache, taught_in
from .checks import check_names, how_kept
from .identity import draw_of, setting_of
from .rebalance_options import changed_in_words, stage_in_words
from .settings import PATHS, Settings, moved

IMAGES = ("test", "validation")
"""What `--images` takes."""

ROUNDING = 1e-9
"""By which an accuracy may miss its threshold: a mean of shares is rarely the number meant."""


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
    fingerprint: str | None
    """Of the images that were scored on; None for a cache that does not say."""
    groups: Groups
    """Head, medium and tail as the run recorded them."""
    seed: int | None
    setting: str
    """JSON text, equal for the seeds of one setting and for nothing else."""
    draw: str
    """Differs for runs of one setting unless they repeat each other."""
    scores: Scores
    seconds: float | None


@dataclass(frozen=True)
class Evaluation:
    """What one `eval` found out."""

    scored: list[Scored]
    warnings: list[str]
    """All that were yielded on the way."""


def score(
    root: Path,
    which: list[str],
    device_name: str,
    images: str = "test",
    place: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> Generator[Event, None, Evaluation]:
    """Scores of the named runs and caches; of the newest finished run where none is named.

    `images` says on which: `test`, or `validation` for those that a run held out. `place` has
    those fields of a DataSpec that say where they lie, or how they are kept, if that has changed.
    `progress` hears how many images of how many are decoded.
    """
    if images not in IMAGES:
        raise UsageError(
            f"--images takes {' or '.join(IMAGES)}, not {images!r}.", "--images validation"
        )
    warnings: list[str] = []
    events = _score_all(root, which, device_name, images, place or {}, progress)
    scored = yield from _kept(events, warnings)
    return Evaluation(scored, warnings)


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


def thresholds(texts: list[str]) -> list[tuple[str, float]]:
    """Every split with its least accuracy, in [0, 1]; UsageError where one is no `SPLIT=SHARE`."""
    return [_threshold(text) for text in texts]


def check_thresholds(scored: list[Scored], least: list[tuple[str, float]]) -> None:
    """Raises BelowThreshold where an accuracy lies under one of its thresholds."""
    for one in scored:
        accuracies = one.scores.accuracies()
        for split, wanted in least:
            accuracy = accuracies[split]
            if accuracy is None or accuracy < wanted - ROUNDING:
                shown = "n/a" if accuracy is None else f"{accuracy:.4f}"
                raise BelowThreshold(
                    f"The {split} accuracy of {one.name} is {shown}, less than {wanted}.",
                    command("methods", remark="for what may do better"),
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


def _kept(
    events: Generator[Event, None, list[Scored]], warnings: list[str]
) -> Generator[Event, None, list[Scored]]:
    """The events, with the text of every warning added to `warnings`.

    How images are kept is told once, though each run loads them.
    """
    told = set[tuple[str, bool, int]]()
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            scored: list[Scored] = end.value
            return scored
        if isinstance(event, Warned):
            warnings.append(event.text)
        if isinstance(event, ImagesKept):
            if (event.image_set, event.stored, event.size) in told:
                continue
            told.add((event.image_set, event.stored, event.size))
        yield event


def _score_all(
    root: Path,
    which: list[str],
    device_name: str,
    images: str,
    place: dict[str, Any],
    progress: Progress | None,
) -> Generator[Event, None, list[Scored]]:
    how = device_name, images, place, progress
    if not which:
        run = runs.newest(root)
        yield Note(f"using the newest run, {run.name}")
        return [(yield from _score_run(run, *how))]
    if place.keys() & {*PATHS} and all(_is_cache(Path(name)) for name in which):
        raise UsageError(
            "A cache knows its teacher's scores, whatever images there are.",
            "give the teacher's run in its place",
        )
    scored = []
    for name in which:
        if _is_cache(Path(name)):
            scored.append(_score_cache(Path(name), images))
        else:
            scored.append((yield from _score_run(runs.find(root, name), *how)))
    yield from compare_images(scored)
    return scored


def _is_cache(path: Path) -> bool:
    named = path.suffix in (".h5", ".hdf5", ".partial")
    return named or (path.is_file() and path.suffix != ".safetensors")


def _score_run(
    run: Run, device_name: str, split: str, place: dict[str, Any], progress: Progress | None
) -> Generator[Event, None, Scored]:
    run.require_done()
    yield from map(Warned, run.warnings)
    settings = Settings.of(run)
    device = devices.open_device(device_name)
    data = load(moved(settings.data, place), progress)
    yield from how_kept(data)
    yield from check_names(run, data.train.class_names, data.name, force=False)
    images, recorded = _images(run, data, split), run.record["data"]
    if not images.matches(recorded.get(split)):
        yield Warned(
            f"The {split} images of {data.name} are not those that {run.name} was scored on."
        )
    groups = _groups(recorded["groups"])
    yield from _compare_groups(run, groups, data)
    network = models.load(run.weights, run.verified_weights()).to(device)
    return Scored(
        name=run.name,
        kind=run.kind,
        model=settings.model,
        method=_method_in_words(run, settings),
        data=_data_in_words(data.name, images.split, len(images.labels)),
        fingerprint=images.fingerprint,
        groups=groups,
        seed=settings.seed,
        setting=json.dumps({**setting_of(run), "scored on": images.fingerprint}),
        draw=draw_of(run),
        scores=evaluate(
            *(network, images, groups, recorded["class_counts"], device),
            policy=Policy(settings.views, settings.view_seed),
        ),
        seconds=run.record["seconds"],
    )


def _images(run: Run, data: Data, split: str) -> ImageSet:
    """The images to score a run on; UsageError where it held none out for validation."""
    if split == "test":
        return data.test
    if data.validation is None:
        caches = run.settings.get("caches")
        teacher = taught_in(Path(caches[0]).parent if caches else run.path)
        same = ("--config", teacher.config) if teacher else ()
        remark = "for a run that does" if run.kind == "teach" else "whose students do, too"
        raise UsageError(
            f"{run.name} held no images out for validation.",
            command("teach", *same, "--validation", "20", remark=remark),
        )
    return data.validation


def _score_cache(path: Path, split: str) -> Scored:
    if split != "test":
        raise UsageError(
            f"{path} knows its teacher's scores on the test set only.",
            "give the teacher's run in its place",
        )
    cache = open_cache(path)
    held = cache.attributes
    try:
        checked(held["teacher_scores"], ScoresRecord, "teacher_scores")
    except Invalid as error:
        raise CacheMismatch(
            f"{path} does not know its teacher's scores: {error}.",
            "give the teacher's run in its place",
        ) from None
    scores = Scores.from_dict(held["teacher_scores"])
    return Scored(
        name=path.name,
        kind="cache",
        model=held["teacher_model"]["name"],
        method=held["teacher_method"],
        data=_data_in_words(
            held["image_set"], held.get("test_split", "test"), scores.splits["all"].images
        ),
        fingerprint=held.get("test_fingerprint") or None,
        groups=_groups(held["groups"]),
        seed=None,
        setting=json.dumps({"cache": str(path)}),
        draw="",
        scores=scores,
        seconds=None,
    )


def _compare_groups(run: Run, groups: Groups, data: Data) -> Iterator[Warned]:
    """A warning where the training images there are now would form other groups."""
    moved = [
        f"{name} from {before} to {now}"
        for name, before, now in zip(
            data.train.class_names, groups.of_class, data.groups.of_class, strict=True
        )
        if before != now
    ]
    if moved:
        yield Warned(
            f"{run.name} is scored by the groups that it was trained with; by the training images "
            f"that are there now, classes would move: {name_some(moved)}."
        )


def compare_images(scored: list[Scored]) -> Iterator[Warned]:
    """Warnings where rows are about other images than each other, or may be."""
    known = {one.fingerprint for one in scored if one.fingerprint is not None}
    unknown = [one.name for one in scored if one.fingerprint is None]
    if len(known) > 1 or (unknown and len({one.data for one in scored}) > 1):
        yield Warned("The rows are not about the same images, so they cannot be compared.")
    elif unknown and len(scored) > 1:
        yield Warned(
            f"{name_some(unknown)} does not say which test images its scores are from, so they "
            "may be others than those of the other rows."
        )


def _method_in_words(run: Run, settings: Settings) -> str:
    defaults = {option.name: option.default for option in options(find(settings.method))}
    changed = changed_in_words(settings.options, defaults)
    stages = [stage_in_words(stage) for stage in run.record.get("rebalanced", [])]
    expert = [] if settings.classes == "all" else [f"({settings.classes} classes only)"]
    return " + ".join([" ".join([settings.method, *changed, *expert]), *stages])


def _data_in_words(name: str, split: str, images: int) -> str:
    return f"{split} set of {name}, {images:,} images"


def _groups(recorded: dict[str, Any]) -> Groups:
    return Groups(recorded["rule"], tuple(recorded["of_class"]))
