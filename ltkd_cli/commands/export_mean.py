"""`export-logits RUN RUN ...`: the mean of several teachers' logits, as one cache."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import devices, models
from ..data import Data
from ..data.decoded import Progress
from ..errors import DataMismatch, UsageError, command
from ..events import Event, Note, Warned
from ..inference import evaluate
from ..outputs import Outputs
from ..runs import Run
from ..views.policy import Policy
from .checks import check_names, refuse_chance
from .export import (
    ExportSettings,
    check_settings,
    layout_of,
    policy_and_views,
    slug,
    write,
)
from .identity import setting_of
from .images import chosen, load_checked
from .provenance import about_images
from .settings import Settings

SAME = {"train": "training images", "class_names": "classes", "groups": "head, medium and tail"}
"""Of the images of a run, what several teachers must have in common."""


class MeanOfNetworks(nn.Module):
    """Computes the mean of the `logits` [B, C] of several networks, in float32."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Outputs:
        """Logits [B, C] of images [B, 3, H, W] in [0, 1]."""
        logits = [network(images)["logits"].float() for network in self.networks]
        return {"logits": torch.stack(logits).mean(0)}


def export_mean(
    teachers: Sequence[Run],
    images: dict[str, Any],
    settings: ExportSettings,
    progress: Progress | None = None,
) -> Generator[Event, None, Path]:
    """Writes the cache of several runs, or goes on with it; the return value is its path.

    No features are stored, since those of different networks have no mean. DataMismatch where
    the runs were trained on other images, classes or groups than each other.
    """
    _check_alike(teachers)
    check_settings(settings)
    device = devices.open_device(settings.device)
    precision = devices.choose_precision(settings.precision, device)
    of_each = [Settings.of(run) for run in teachers]
    spec = chosen(of_each[0].data, teachers[0].record["data"], images)
    for run in teachers:
        yield from map(Warned, run.warnings)
    data = yield from load_checked(
        spec,
        progress,
        lambda names, of: chain.from_iterable(
            check_names(run, names, of, settings.replace) for run in teachers
        ),
    )
    policy, views = policy_and_views(_common_policy(teachers, of_each, settings), settings)
    network = MeanOfNetworks([models.load(run.weights, run.verified_weights()) for run in teachers])
    network.to(device)
    path = (
        settings.output or teachers[0].path / f"cache-mean{len(teachers)}-{slug(policy)}-{views}.h5"
    )
    layout = layout_of(data, views, 0, settings.dtype)
    counts = data.train.class_counts()
    scores = evaluate(network, data.test, data.groups, counts, device, policy=policy).as_dict()
    attributes = _attributes(teachers, data, policy, precision, device, scores)
    names = " and ".join(run.name for run in teachers)
    yield from refuse_chance(
        f"the mean of {names}", scores, layout.classes, "train them longer, or insist with --force",
        settings.replace,
    )  # fmt: skip
    if settings.features:
        yield Note("the mean of several teachers has logits alone: no features are stored")
    cache = path, layout, attributes
    return (yield from write(network, data, policy, cache, settings.replace, names))


def _check_alike(teachers: Sequence[Run]) -> None:
    """Raises the error that matches where these runs have no mean."""
    first, *others = teachers
    for run in teachers:
        run.require_done()
        if run.settings.get("classes", "all") != "all":
            raise UsageError(
                f"{run.name} is an expert for some classes, and a mean is for teachers of all.",
                command("distill", "--method", "lfme", remark="with a --cache for each expert"),
            )
    if len({run.path.resolve() for run in teachers}) < len(teachers):
        raise UsageError("The same run is given twice.", "name each run once")
    for run in others:
        for field, what in SAME.items():
            if run.record["data"][field] != first.record["data"][field]:
                raise DataMismatch(
                    f"{run.name} was trained on other {what} than {first.name}, so their logits "
                    "have no mean.",
                    command("export-logits", run.path, remark="for a cache of each"),
                )


def _common_policy(
    teachers: Sequence[Run], of_each: Sequence[Settings], settings: ExportSettings
) -> str:
    """The policy that all were trained with; UsageError where they differ and none is given."""
    first = of_each[0].views
    for run, own in zip(teachers, of_each, strict=True):
        if settings.policy is None and own.views != first:
            raise UsageError(
                f"{run.name} was trained on views of {own.views}, and {teachers[0].name} on views "
                f"of {first}.",
                f"--policy {first}",
            )
    return first


def _attributes(
    teachers: Sequence[Run],
    data: Data,
    policy: Policy,
    precision: str,
    device: torch.device,
    scores: dict[str, Any],
) -> dict[str, Any]:
    weights = _by_name(teachers)
    return {
        **about_images(data, policy, data.test),
        "teacher_run": " and ".join(weights),
        "teacher_runs": weights,
        "teacher_sha256": hashlib.sha256("".join(weights.values()).encode()).hexdigest(),
        "teacher_model": {
            "name": _joined(str(run.settings["model"]) for run in teachers),
            "head": _joined(str(run.settings.get("head", "linear")) for run in teachers),
        },
        "teacher_method": _joined(run.method for run in teachers),
        "teacher_classes": [],
        "teacher_recipe": {},
        "teacher_setting": {"mean": [setting_of(run) for run in teachers]},
        "teacher_scores": scores,
        "autocast": precision,
        "device": device.type,
    }


def _by_name(teachers: Sequence[Run]) -> dict[str, str]:
    """SHA-256 of the weights of every run, by its name, or path where two have one name."""
    names = [run.name for run in teachers]
    if len({*names}) < len(names):
        names = [str(run.path) for run in teachers]
    return {name: run.record["weights_sha256"] for name, run in zip(names, teachers, strict=True)}


def _joined(values: Iterable[str]) -> str:
    """Each of the values once: what all have in common, or `one and another`."""
    return " and ".join(dict.fromkeys(values))
