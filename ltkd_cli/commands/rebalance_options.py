"""What `rebalance` may be told, checked before any work."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from ..errors import UsageError
from ..rebalancing.recipes import OF_MISLAS, OF_SGD
from ..rebalancing.strategies import ADJUSTED, RETRAINED, STRATEGIES
from ..training.recipe import MAX_COUNT

MAX_VIEWS = 1000
MAX_STRENGTH = 100.0
"""Of `--strength`; the sources use up to 1, and what is chosen here ends at 2."""


@dataclass(frozen=True)
class Rebalancing:
    """What the user asked for; None where a default or a choice applies."""

    strategy: str
    strength: float | None = None
    validation: int | None = None
    """Training images of each class to validate on, for a run that held none out."""
    views: int = 8
    device: str = "auto"
    recipe: str | None = None
    """Preset of a re-training; the other fields replace parts of it."""
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    smooth_head: float | None = None
    smooth_tail: float | None = None
    classifier_share: float | None = None
    evaluate_every: int = 0
    """Epochs between evaluations on the way; 0 to evaluate at the end only."""
    place: dict[str, Any] = field(default_factory=dict)
    """Fields of a DataSpec that say where the run's images lie, or how they are kept, now."""

    def options(self) -> dict[str, Any]:
        """What decides the outcome beside the strategy and the run's seed, and was asked for."""
        values = dataclasses.asdict(self)
        always = {name: values[name] for name in ("strength", "validation", "views")}
        recipe = {name: values[name] for name in ("recipe", *OF_SGD, *OF_MISLAS)}
        return always | {name: value for name, value in recipe.items() if value is not None}


def stage_in_words(stage: dict[str, Any]) -> str:
    """A strategy in run.json, with the options that are not the defaults."""
    defaults = Rebalancing(stage["how"]).options()
    return " ".join([stage["how"], *changed_in_words(stage["options"], defaults)])


def changed_in_words(values: dict[str, Any], defaults: dict[str, Any]) -> list[str]:
    """`NAME=VALUE` for every option that is not its default."""
    return [
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in values.items()
        if value != defaults.get(name)
    ]


def check(asked: Rebalancing) -> None:
    """Raises UsageError where the strategy is not known, or an option does not fit."""
    if asked.strategy not in STRATEGIES:
        raise UsageError(
            f"There is no strategy {asked.strategy!r}; there are {', '.join(STRATEGIES)}.",
            "--strategy logit-adjust",
        )
    _check_that_options_fit(asked)
    if asked.strength is not None and not 0 <= asked.strength <= MAX_STRENGTH:
        raise UsageError(f"--strength must lie between 0 and {MAX_STRENGTH:g}.", "--strength 1")
    if not 0 <= asked.evaluate_every <= MAX_COUNT:
        raise UsageError(f"--evaluate-every must be from 0 to {MAX_COUNT:,}.", "--evaluate-every 1")
    if not 1 <= asked.views <= MAX_VIEWS:
        raise UsageError(f"--views must be from 1 to {MAX_VIEWS:,}.", "--views 8")
    if asked.validation is not None and not 1 <= asked.validation <= MAX_COUNT:
        raise UsageError(f"--validation must be from 1 to {MAX_COUNT:,}.", "--validation 20")


def _check_that_options_fit(asked: Rebalancing) -> None:
    """Raises UsageError where an option is for other strategies than the one asked for."""
    meant = {
        "strength": ADJUSTED,
        **dict.fromkeys(("recipe", "evaluate_every", *OF_SGD), RETRAINED),
        **dict.fromkeys(OF_MISLAS, ("mislas",)),
    }
    for name, strategies in meant.items():
        if getattr(asked, name) != getattr(Rebalancing, name) and asked.strategy not in strategies:
            option = "--" + name.replace("_", "-")
            instead = " (its smoothing: --smooth-head)" if asked.strategy == "mislas" else ""
            raise UsageError(
                f"{option} is for {' and '.join(strategies)}, not for {asked.strategy}{instead}.",
                f"--strategy {strategies[-1]}",
            )
