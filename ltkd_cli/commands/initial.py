"""What a training begins from: weights of a file, and how much of them stays as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, UsageError, command
from ..events import Note
from ..models import ModelSpec
from ..models.weights import Weights, read
from ..views.policy import Policy
from .settings import DEFAULT_VIEWS, MAX_VIEWS, Settings, check_freeze, check_normalisation

WHOLE = "all"
"""Value of `freeze` for the whole backbone."""


def is_frozen(settings: Settings) -> bool:
    """Whether the head alone is trained, on features that are computed once."""
    return settings.freeze == WHOLE


def preset(data: str, freeze: str) -> str:
    """Name of the recipe where none is given."""
    if data == "digits-lt":
        return "quick"
    return "frozen-head" if freeze == WHOLE else "ldam"


def evaluate_every(epochs: int, freeze: str) -> int:
    """Epochs between evaluations where it is not said.

    Never with a frozen backbone, which takes longer for the test images than an epoch.
    """
    return 0 if freeze == WHOLE else max(1, epochs // 10)


def feature_views(settings: Settings, policy: Policy) -> int | None:
    """Views of each image that a frozen backbone computes; None where it is not frozen.

    UsageError where the policy has not so many, or mixes images.
    """
    if not is_frozen(settings):
        return None
    views = settings.feature_views or (DEFAULT_VIEWS if policy.has_views else 1)
    if views > 1 and not policy.has_views:
        raise UsageError(f"Policy none has one view of an image, not {views}.", "--feature-views 1")
    if policy.is_mixed:
        raise UsageError(
            f"Views of policy {policy.name} mix images, and a frozen backbone computes each image "
            "alone.",
            "--policy crop+flip",
        )
    return views


def open_weights(settings: Settings) -> Weights | None:
    """The weights that training begins from; CheckpointError where they are others by now."""
    if not settings.weights:
        return None
    found = read(Path(settings.weights), settings.model)
    if settings.weights_sha256 not in ("", found.sha256):
        raise CheckpointError(
            f"{settings.weights} is not what it was when the run began.",
            command("teach", remark="for a new run, or put the file back"),
        )
    if settings.mean and settings.std:
        return found.normalised(settings.mean, settings.std)
    return found


def introduce(weights: Weights | None, *, with_head: bool = False) -> Iterator[Note]:
    """What was taken from a file, as far as that had to be found out; the head, if it is used."""
    if weights is None or weights.own is not None:
        return
    found = weights.matched
    parts = [f"part {found.part}"] if found.part else []
    parts += [f"prefix {found.prefix}"] if found.prefix else []
    ignored = found.ignored
    if with_head and found.elsewhere:
        parts.append(f"head of {found.elsewhere}")
        ignored += found.unused
    parts += [f"head times {found.scales}"] if with_head and found.scales else []
    parts += [f"without {', '.join(ignored)}"] if ignored else []
    if with_head and found.head and not found.head["bias"].any():
        parts.append("a head without a bias, taken for a linear one (a cosine head is none)")
    if parts:
        yield Note(f"{weights.source}: {', '.join(parts)}")


def normalisation(weights: Weights | None, spec: ModelSpec) -> Iterator[Note]:
    """How the network of that spec normalises images for a file of another program.

    Such a file does not say it.
    """
    if weights is None or weights.own is not None or weights.source == weights.model:
        return
    mean, std = (",".join(f"{value:.3g}" for value in values) for values in (spec.mean, spec.std))
    library = weights.model.partition("/")[0]
    usual = f"those of {library}'s weights" if weights.statistics else "those of the data set"
    if_wrong = "; --mean and --std if trained with others"
    reason = "as given" if weights.stated else usual + if_wrong
    yield Note(f"{weights.source}: normalised with mean {mean} and std {std} ({reason})")


def check(given: Mapping[str, Any]) -> None:
    """UsageError for settings that a frozen backbone cannot have."""
    freeze = given.get("freeze", "")
    check_freeze(freeze)
    if freeze and not (given.get("weights") or given.get("pretrained")):
        raise UsageError(
            "--freeze keeps a backbone as it is, and this one would have random weights.",
            "--weights FILE --freeze, or --pretrained --freeze",
        )
    if given.get("weights") and given.get("pretrained"):
        raise UsageError("--weights and --pretrained exclude each other.", "--weights FILE")
    statistics = {name: given[name] for name in ("mean", "std") if given.get(name)}
    check_normalisation(statistics, has_weights=bool(given.get("weights")))
    if freeze == WHOLE:
        _check_whole(given)
        views = given.get("feature_views")
        if views is not None and not 1 <= views <= MAX_VIEWS:
            raise UsageError(
                f"--feature-views must be from 1 to {MAX_VIEWS:,}.", "--feature-views 16"
            )
    elif given.get("feature_views") is not None:
        raise UsageError("--feature-views is for --freeze.", "--weights FILE --freeze")


def _check_whole(given: Mapping[str, Any]) -> None:
    recipe = given.get("recipe", {})
    for option, is_given, instead in (
        ("--compile", given.get("compile"), "leave out --compile"),
        ("--augment", given.get("augment", "none") != "none", "--policy crop+jitter:0.4"),
        ("--mixup", recipe.get("mixup"), "leave out --mixup"),
        ("--cutmix", recipe.get("cutmix"), "leave out --cutmix"),
    ):
        if is_given:
            raise UsageError(
                f"{option} changes how a backbone computes each image in each epoch, and a frozen "
                "one computes each view once.",
                instead,
            )
