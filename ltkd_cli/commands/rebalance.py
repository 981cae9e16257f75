"""`rebalance`: a new run whose last layer is another one's, made fair to rare classes."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import torch
from torch import Tensor, nn

from .. import devices, models, runs
from .. import metrics as evaluate
from ..data import load
from ..data.decoded import Progress
from ..errors import DataMismatch, MethodError, RunError, UsageError
from ..events import Event, Facts, Warned
from ..rebalancing.posthoc import balanced_accuracy, is_better
from ..rebalancing.strategies import HOWS, Stage, hits_of, second_stage
from ..runs import Run
from ..views.policy import ViewPolicy
from .caches import accuracies_in_words
from .looking import Source, look
from .provenance import environment
from .settings import TrainSettings
from .testing import score_on_test

MAX_VIEWS = 1000
MAX_STRENGTH = 100.0
"""Of `--strength`; the sources use up to 1, and what is chosen here ends at 2."""


@dataclass(frozen=True)
class Rebalancing:
    """What the user asked for; None where a default or a choice applies."""

    how: str
    strength: float | None = None
    validation: int | None = None
    """Training images of each class to validate on, for a run that held none out."""
    views: int = 8
    device: str = "auto"

    def options(self) -> dict[str, Any]:
        """What decides the outcome beside `how` and the run's seed."""
        return {"strength": self.strength, "validation": self.validation, "views": self.views}


@dataclass(frozen=True)
class _Compared:
    """Shares of right views [M] of the validation images before and after, and labels [M]."""

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
    """The newest finished run that is no second stage itself; RunError where there is none."""
    found = [run for run in runs.all_runs(root) if run.done and run.kind != "rebalance"]
    if not found:
        raise RunError(f"There is no finished run in {root} yet.", "ltkd teach")
    return found[-1]


def rebalance(
    root: Path,
    run: Run,
    asked: Rebalancing,
    name: str | None = None,
    progress: Progress | None = None,
) -> Generator[Event, None, Run]:
    """Makes the second stage of a finished run, which stays as it is; returns the new run.

    The folder is made when all else is done, so that an interrupted command leaves nothing.
    """
    began = time.perf_counter()
    _check(asked)
    if name:
        runs.check_name(root, name)
    source = _open(run, asked, progress)
    _check_held_out(source, asked)
    yield from _cautions(source, asked)
    views = asked.views if source.policy.name != "none" else 1
    seen, validation = yield from look(source, asked.how, asked.validation, views)
    counts = torch.tensor(source.data.train.class_counts())
    stage = second_stage(asked.how, source.network.head, seen, counts, asked.strength, source.seed)
    compared = _Compared(
        hits_of(source.network.head, validation), hits_of(stage.head, validation), validation.labels
    )
    source.network.head = stage.head
    record = {
        "how": asked.how,
        "options": asked.options(),
        "views": views,
        "validation_images": len(validation.labels),
        "validation_held_out": source.data.validation is not None,
        "validation_before": compared.before,
        "validation_after": compared.after,
        **stage.found,
    }
    made = _write(root, name, source, record, began)
    yield Facts(made.name, _in_words(run, stage, compared))
    if is_better(compared.old, compared.new, compared.labels):
        yield Warned(
            f"{asked.how} made the validation images worse; {run.name} may be the better network."
        )
    return made


def stage_in_words(stage: dict[str, Any]) -> str:
    """A second stage of run.json with the options that are not the defaults."""
    defaults = Rebalancing(stage["how"]).options()
    changed = [
        f"{name}={value:g}" for name, value in stage["options"].items() if value != defaults[name]
    ]
    return " ".join([stage["how"], *changed])


def _check(asked: Rebalancing) -> None:
    if asked.how not in HOWS:
        raise UsageError(
            f"There is no second stage {asked.how!r}; there are {', '.join(HOWS)}.",
            "--how logit-adjust",
        )
    if asked.strength is not None and asked.how in ("crt", "lws"):
        raise UsageError(
            f"{asked.how} has no strength: it is trained.", "--how tau-norm, or --how logit-adjust"
        )
    if asked.how == "mislas" and not 0 <= (asked.strength or 0) < 1:
        raise UsageError(
            "--strength of mislas is the smoothing of the largest class, from 0 to less than 1.",
            "--strength 0.3",
        )
    if asked.strength is not None and not 0 <= asked.strength <= MAX_STRENGTH:
        raise UsageError(f"--strength must lie between 0 and {MAX_STRENGTH:g}.", "--strength 1")
    if not 1 <= asked.views <= MAX_VIEWS:
        raise UsageError(f"--views must be from 1 to {MAX_VIEWS:,}.", "--views 8")
    if asked.validation is not None and asked.validation < 1:
        raise UsageError("--validation must be at least 1.", "--validation 20")


def _open(run: Run, asked: Rebalancing, progress: Progress | None) -> Source:
    run.require_done()
    device = devices.open_device(asked.device)
    network = models.load(run.weights, run.verified_weights()).to(device).eval()
    if asked.how != "crt" and not isinstance(network.head, nn.Linear):
        raise MethodError(
            f"{run.name} ends in a cosine head, which knows neither a bias nor a length of a "
            f"class's weights, so {asked.how} has nothing to change.",
            f"ltkd rebalance {quote(str(run.path))} --how crt",
        )
    settings = TrainSettings.of(run)
    if settings.classes != "all":
        raise MethodError(
            f"{run.name} learned the {settings.classes} classes alone, and a second stage is for "
            "networks of all classes.",
            "ltkd runs, for those of all classes",
        )
    data = load(settings.data, progress)
    if not data.train.matches(run.record["data"]["train"]):
        raise DataMismatch(
            f"The training images of {run.name} are not what they were when it was trained.",
            f"ltkd {run.kind}, for a new run",
        )
    return Source(run, data, network, ViewPolicy(settings.views, settings.view_seed), device)


def _cautions(source: Source, asked: Rebalancing) -> Generator[Event, None, None]:
    run = source.run
    if asked.how == "logit-adjust" and run.method != "ce":
        yield Warned(
            f"Logit adjustment is meant for a network trained by ce; {run.name} was trained by "
            f"{run.method}, which may have corrected for the class counts already."
        )
    if not source.data.test.matches(run.record["data"]["test"]):
        yield Warned(
            f"The test images of {source.data.name} are not those that {run.name} was scored on."
        )


def _check_held_out(source: Source, asked: Rebalancing) -> None:
    if source.data.validation is not None and asked.validation is not None:
        raise UsageError(
            f"{source.run.name} held {len(source.data.validation.labels):,} images out, and they "
            "are what is validated on.",
            f"ltkd rebalance {quote(str(source.run.path))} --how {asked.how}",
        )


def _write(
    root: Path, name: str | None, source: Source, stage: dict[str, Any], began: float
) -> Run:
    """The new run, its weights and scores; the settings are those of the run it came from."""
    parent, network, data = source.run, source.network, source.data
    scores = score_on_test(network, data, source.device)
    label = f"{stage['how']}-{parent.settings['model']}"
    with runs.creating(root, "rebalance", label, parent.settings, name) as run:
        models.save(network, run.weights)
        evaluate.write_per_class(run.per_class, scores)
        run.update(
            environment=environment(source.device),
            data={**parent.record["data"], "test": data.test.fingerprint},
            parents=[_parent(parent), *parent.record["parents"]],
            rebalanced=[*parent.record.get("rebalanced", []), stage],
            weights_sha256=models.weights_sha256(run.weights),
            parameters=models.describe(network).parameters,
            train_images=len(data.train.labels),
            scores=scores.as_dict(),
            seconds=round(time.perf_counter() - began, 2),
            status="done",
        )
    return run


def _parent(run: Run) -> dict[str, Any]:
    return {
        "kind": "run",
        "name": run.name,
        "path": str(run.path),
        "weights_sha256": run.record["weights_sha256"],
    }


def _in_words(run: Run, stage: Stage, compared: _Compared) -> tuple[tuple[str, str], ...]:
    before, after = compared.before, compared.after
    return (
        ("second stage", stage.words),
        ("validation accuracy", f"{before:.1%} before, {after:.1%} after, the mean of the classes"),
        ("test accuracy before", accuracies_in_words(run.record["scores"])),
    )
