"""`rebalance`: a new run with another last layer, which is fair to rare classes."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import devices, events, models, runs
from ..data import Data, DataSpec, ImageSet, load
from ..data.decoded import Progress
from ..errors import Command, DataMismatch, MethodError, RunError, UsageError, command
from ..events import Evaluated, Event, Rebalanced, RebalancingBegins, Retrained, Warned
from ..inference import evaluate, extract_features
from ..metrics import Scores, write_per_class
from ..models import Network
from ..rebalancing.features import Features, drawn_anew, fixed
from ..rebalancing.posthoc import (
    balanced_accuracy,
    is_better,
    validation_images,
    validation_rows,
)
from ..rebalancing.recipes import PRESETS, Retraining, default_preset, resolve
from ..rebalancing.retraining import AfterEpoch
from ..rebalancing.strategies import NewHead, adjust_head, chosen_by, correct_of, retrain_head
from ..runs import Run
from ..splits import SPLITS
from ..training.features import FeatureSource
from ..views.policy import Policy
from . import configuration
from .checks import how_kept
from .frozen import features_of
from .memory import available_memory, check_fits
from .provenance import data_record, environment
from .rebalance_options import Rebalancing, check
from .settings import PATHS, Settings, moved


@dataclass(frozen=True)
class _Opened:
    """A finished run, opened."""

    run: Run
    spec: DataSpec
    """Of its images, where they lie now."""
    data: Data
    network: Network
    policy: Policy
    """That of the run, unmixed: a classifier is re-trained on images of one class."""
    device: torch.device

    @property
    def seed(self) -> int:
        return int(self.run.settings.get("seed", 0))

    def features(
        self, images: ImageSet, rows: Tensor, views: int
    ) -> Generator[Event, None, Features]:
        """Features of the first views of some rows."""
        found = yield from extract_features(
            self.network, images, rows, views, self.policy, self.device
        )
        return Features(found, images.labels[rows])

    def scores(self, images: ImageSet) -> Scores:
        """Those of the network as it is on the clean images."""
        counts = self.data.train.class_counts()
        return evaluate(
            self.network, images, self.data.groups, counts, self.device, policy=self.policy
        )


@dataclass(frozen=True)
class _Validation:
    """The images that choices are made on."""

    images: ImageSet
    rows: Tensor
    views: int
    held_out: bool


@dataclass(frozen=True)
class _Compared:
    """Shares of correct views [M] of the validation images before and after, and labels [M]."""

    old: Tensor
    new: Tensor
    labels: Tensor

    @property
    def before(self) -> float:
        return balanced_accuracy(self.old, self.labels)

    @property
    def after(self) -> float:
        return balanced_accuracy(self.new, self.labels)


def newest_source(root: Path) -> Run:
    """The newest finished run that was not rebalanced itself; RunError where there is none."""
    found = [run for run in runs.all_runs(root) if run.done and run.kind != "rebalance"]
    if not found:
        raise RunError(f"There is no finished run in {root} yet.", command("teach"))
    return found[-1]


def rebalance(
    root: Path,
    run: Run,
    asked: Rebalancing,
    name: str | None = None,
    progress: Progress | None = None,
) -> Generator[Event, None, Run]:
    """Rebalances a finished run, which stays as it is; returns the new run.

    The folder is made when all else is done, so that an interrupted command leaves nothing.
    """
    began = time.perf_counter()
    check(asked)
    if name:
        runs.check_name(root, name)
    yield from map(Warned, run.warnings)
    opened = _open(run, asked, progress)
    yield from how_kept(opened.data)
    _check_held_out(opened, asked)
    how = _retraining(opened, asked)
    yield from _warn(opened, asked)
    validation = _validation(opened, asked)
    _check_memory(opened, asked, how, validation)
    clean_only = validation.held_out and (how is None or how.new_views)
    if clean_only:  # then --views decides nothing
        asked = replace(asked, views=Rebalancing.views)
    yield _introduction(opened, asked, how, validation)
    changed, compared, metrics = yield from _change(opened, asked, how, validation)
    record = {
        "how": asked.strategy,
        "options": asked.options(),
        "views": validation.views if clean_only else _views(opened, asked),
        "validation_images": len(validation.rows),
        "validation_held_out": validation.held_out,
        "validation_before": compared.before,
        "validation_after": compared.after,
        **changed.found,
    }
    made = _write(root, name, opened, asked, record, metrics, began)
    yield Rebalanced(
        name=made.name,
        source=run.name,
        strategy=asked.strategy,
        summary=changed.summary,
        before=compared.before,
        after=compared.after,
        worse=is_better(compared.old, compared.new, compared.labels),
        test_before=_test_accuracies(run),
    )
    return made


def _open(run: Run, asked: Rebalancing, progress: Progress | None) -> _Opened:
    run.require_done()
    device = devices.open_device(asked.device)
    network = models.load(run.weights, run.verified_weights()).to(device).eval()
    if asked.strategy != "crt" and not isinstance(network.head, nn.Linear):
        raise MethodError(
            f"{run.name} ends in a cosine head, which has neither a bias nor a length of a "
            f"class's weights, so {asked.strategy} has nothing to change.",
            _again(run, asked, "crt"),
        )
    settings = Settings.of(run)
    if settings.classes != "all":
        raise MethodError(
            f"{run.name} learned the {settings.classes} classes alone, and rebalancing is for "
            "networks of all classes.",
            command("runs", remark="for those of all classes"),
        )
    spec = moved(settings.data, asked.place)
    data = load(spec, progress)
    if not data.train.matches(run.record["data"]["train"]):
        raise DataMismatch(
            f"The training images of {run.name} are not what they were when it was trained.",
            run.anew(),
        )
    policy = Policy(settings.views, settings.view_seed)
    return _Opened(run, spec, data, network, policy.unmixed, device)


def _check_held_out(opened: _Opened, asked: Rebalancing) -> None:
    if opened.data.validation is not None and asked.validation is not None:
        raise UsageError(
            f"{opened.run.name} held {len(opened.data.validation.labels):,} images out, and they "
            "are what is validated on.",
            _again(opened.run, asked, asked.strategy),
        )


def _again(run: Run, asked: Rebalancing, strategy: str) -> Command:
    """The command without what does not fit."""
    place = configuration.of_place(asked.place).items()
    options = [text for name, value in place for text in (f"--{name}", value)]
    return command("rebalance", run.path, "--strategy", strategy, *options)


def _retraining(opened: _Opened, asked: Rebalancing) -> Retraining | None:
    """The recipe of a re-training; None for an adjustment."""
    if asked.strategy not in PRESETS:
        return None
    images = opened.data.spec
    preset = asked.recipe or default_preset(asked.strategy, images.data, images.imbalance)
    rows = len(opened.data.train.labels)
    return resolve(asked.strategy, preset, asdict(asked), rows)


def _warn(opened: _Opened, asked: Rebalancing) -> Generator[Event, None, None]:
    run = opened.run
    if asked.strategy == "logit-adjust" and run.method != "ce":
        yield Warned(
            f"Logit adjustment is meant for a network trained by ce; {run.name} was trained by "
            f"{run.method}, which may have corrected for the class counts already."
        )
    data, known = opened.data, run.record["data"]
    if not data.test.matches(known["test"]):
        yield Warned(f"The test images of {data.name} are not those that {run.name} was scored on.")
    held_out = data.validation
    if held_out is not None and not held_out.matches(known.get("validation")):
        yield Warned(
            f"The validation images of {data.name} are not those that {run.name} held out."
        )


def _views(opened: _Opened, asked: Rebalancing) -> int:
    return asked.views if opened.policy.name != "none" else 1


def _validation(opened: _Opened, asked: Rebalancing) -> _Validation:
    """Held-out images in their clean view; else some training images of each class, in several."""
    held_out, train = opened.data.validation, opened.data.train
    if held_out is not None:
        return _Validation(held_out, torch.arange(len(held_out.labels)), 1, held_out=True)
    views = _views(opened, asked)
    per_class = asked.validation or validation_images(opened.network.spec.classes, views)
    rows = validation_rows(train.labels, per_class, opened.seed)
    return _Validation(train, rows, views, held_out=False)


def _check_memory(
    opened: _Opened, asked: Rebalancing, how: Retraining | None, validation: _Validation
) -> None:
    """Refuses a re-training on stored features that do not fit into memory, before it begins."""
    train, views = opened.data.train, _views(opened, asked)
    if how is None or how.new_views or features_of(opened.run, train, views):
        return  # then features of the training images are not computed beforehand
    others = len(validation.rows) * validation.views
    check_fits(len(train.labels), views, others, opened.network.width, available_memory())


def _introduction(
    opened: _Opened, asked: Rebalancing, how: Retraining | None, validation: _Validation
) -> RebalancingBegins:
    return RebalancingBegins(
        run=opened.run.name,
        strategy=asked.strategy,
        validation_images=len(validation.rows),
        held_out=validation.held_out,
        views=validation.views,
        train_images=len(opened.data.train.labels),
        retraining=None if how is None else _as_event(how),
        chosen=chosen_by(asked.strategy, asked.strength),
    )


def _as_event(how: Retraining) -> events.Retraining:
    recipe = how.recipe
    return events.Retraining(
        recipe.epochs, recipe.batch_size, recipe.learning_rate, how.new_views, how.moving_statistics
    )


def _change(
    opened: _Opened, asked: Rebalancing, how: Retraining | None, validation: _Validation
) -> Generator[Event, None, tuple[NewHead, _Compared, list[dict[str, Any]]]]:
    """Gives the network its new head; what it was before and after on the validation images.

    The third are the epochs of a re-training that were evaluated, as metrics.jsonl has them.
    """
    metrics: list[dict[str, Any]] = []
    network, counts = opened.network, torch.tensor(opened.data.train.class_counts())
    chosen_on = validation.images, validation.rows, validation.views
    features = yield from opened.features(*chosen_on)
    old = correct_of(network.head, features)
    if how is None:
        assert isinstance(network.head, nn.Linear)  # _open refuses others
        changed = adjust_head(asked.strategy, network.head, features, counts, asked.strength)
    else:
        source = yield from _source(opened, asked, how)
        steps = retrain_head(asked.strategy, network.head, source, counts, how, opened.seed)
        changed, metrics = yield from _evaluated(opened, asked.evaluate_every, how, steps)
        if how.moving_statistics:
            features = yield from opened.features(*chosen_on)
    network.head = changed.head
    compared = _Compared(old, correct_of(changed.head, features), features.labels)
    return changed, compared, metrics


def _evaluated(
    opened: _Opened,
    every: int,
    how: Retraining,
    steps: Generator[Retrained | AfterEpoch, None, NewHead],
) -> Generator[Event, None, tuple[NewHead, list[dict[str, Any]]]]:
    """The steps of a re-training, and an evaluation after every so many epochs but the last."""
    data, network = opened.data, opened.network
    images = data.validation or data.test
    split = "test" if data.validation is None else images.split
    metrics: list[dict[str, Any]] = []
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value, metrics
        if isinstance(step, Retrained):
            yield step
        elif every and step.epoch % every == 0 and step.epoch < how.recipe.epochs:
            kept, network.head = network.head, step.head()
            checked = Evaluated(step.epoch, split, opened.scores(images).accuracies())
            network.head = kept
            metrics.append({"epoch": step.epoch, split: checked.accuracy})
            yield checked


def _source(
    opened: _Opened, asked: Rebalancing, how: Retraining
) -> Generator[Event, None, FeatureSource]:
    train = opened.data.train
    if how.new_views:
        return drawn_anew(
            opened.network, train, opened.policy, opened.device,
            moving_statistics=how.moving_statistics,
        )  # fmt: skip
    if known := features_of(opened.run, train, _views(opened, asked)):
        return known
    everything = torch.arange(len(train.labels))
    features = yield from opened.features(train, everything, _views(opened, asked))
    return fixed(features)


def _write(
    root: Path,
    name: str | None,
    opened: _Opened,
    asked: Rebalancing,
    stage: dict[str, Any],
    metrics: Iterable[dict[str, Any]],
    began: float,
) -> Run:
    """The new run, its weights and scores; its settings are those of the run it came from."""
    parent, network, data = opened.run, opened.network, opened.data
    scores = opened.scores(data.test)
    label = f"{stage['how']}-{parent.settings['model']}"
    paths = {name: getattr(opened.spec, name) for name in PATHS}
    settings = {**parent.settings, "data": parent.settings["data"] | paths}
    with runs.creating(root, "rebalance", label, settings, name) as run:
        models.save(network, run.weights)
        for line in metrics:
            run.log(line)
        place = {name: getattr(opened.spec, name) for name in asked.place}
        options = configuration.of_rebalancing(parent, replace(asked, place=place))
        configuration.write(run, options, torch.get_num_threads())
        write_per_class(run.per_class, scores)
        run.update(
            environment=environment(opened.device),
            data=parent.record["data"] | _scored_on(data),
            parents=[_parent(parent), *parent.record["parents"]],
            rebalanced=[*parent.record.get("rebalanced", []), stage],
            weights_sha256=models.weights_sha256(run.weights),
            parameters=models.parameter_count(network),
            train_images=len(data.train.labels),
            scores=scores.as_dict(),
            seconds=round(time.perf_counter() - began, 2),
            status="done",
        )
    return run


def _scored_on(data: Data) -> dict[str, Any]:
    """What data_record says of the images that a choice was made on, and of those of the test."""
    record = data_record(data)
    return {name: record[name] for name in ("test", "test_split", "validation")}


def _parent(run: Run) -> dict[str, Any]:
    return {
        "kind": "run",
        "name": run.name,
        "path": str(run.path),
        "weights_sha256": run.record["weights_sha256"],
    }


def _test_accuracies(run: Run) -> dict[str, float]:
    scores = run.record["scores"]
    known = {name: scores[name]["accuracy"] for name in SPLITS if name in scores}
    return {name: value for name, value in known.items() if value is not None}
