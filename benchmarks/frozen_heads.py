"""Heads on the frozen backbone of a finished run, beside a re-training of its classifier.

    python -m benchmarks.frozen_heads RUNS/NAME --runs runs-heads --output HEADS.json

Each method trains a new head by `ltkd teach --weights MODEL --freeze`, on the run's own images and
views; `ltkd rebalance --strategy crt` re-trains the classifier of the very same run. The file has
the accuracies with their 95 % intervals, the seconds of the features and of the head, and the
run's own scores.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import timing
from ltkd_cli import devices, runs
from ltkd_cli.commands import train
from ltkd_cli.commands.prepare import prepare
from ltkd_cli.commands.rebalance import rebalance
from ltkd_cli.commands.rebalance_options import Rebalancing
from ltkd_cli.commands.settings import Settings
from ltkd_cli.runs import Run
from ltkd_cli.splits import SPLITS

METHODS = ("ce", "balanced-softmax", "logit-adjust")
Result = TypeVar("Result")


def main() -> None:
    """Trains, prints a line for each head and writes JSON."""
    arguments = parse()
    source = runs.find(arguments.run.parent, arguments.run.name)
    results: dict[str, Any] = {
        "machine": timing.machine(devices.choose_device("auto")),
        "run": {**described(source), "model": source.settings["model"], "method": source.method},
        "heads": {},
    }
    for method in METHODS:
        results["heads"][f"frozen, {method}"] = head(source, method, arguments)
    results["heads"]["rebalance, crt"] = crt(source, arguments)
    for name, found in results["heads"].items():
        accuracies = ", ".join(f"{s} {100 * found['scores'][s]['accuracy']:.1f}" for s in SPLITS)
        print(f"{name}: {accuracies}; {found['seconds']:.0f} s")
    timing.write(arguments.output, results)
    print(f"wrote {arguments.output}")


def head(source: Run, method: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """A new head on the backbone of the run, by one method."""
    trained = Settings.of(source)
    given = {
        "method": method,
        "model": trained.model,
        "weights": str(source.weights),
        "freeze": "all",
        "feature_views": arguments.views,
        "views": trained.views,
        "data": dataclasses.asdict(trained.data),
        "seed": trained.seed,
        "precision": "float32",
    }
    prepared = finished(prepare(arguments.runs, "teach", given))
    made = finished(train.start(arguments.runs, "teach", prepared, None))
    images = made.record["train_images"]
    in_epochs = sum(images / epoch["images_per_second"] for epoch in made.read_metrics())
    return {**described(made), "seconds in epochs": round(in_epochs, 2)}


def crt(source: Run, arguments: argparse.Namespace) -> dict[str, Any]:
    """The classifier of the run re-trained with class-balanced sampling."""
    asked = Rebalancing("crt", views=arguments.views)
    return described(finished(rebalance(arguments.runs, source, asked)))


def described(run: Run) -> dict[str, Any]:
    """Scores of a run, and how long it took."""
    scores = {name: run.record["scores"][name] for name in SPLITS}
    return {"scores": scores, "seconds": run.record["seconds"]}


def finished(events: Generator[Any, None, Result]) -> Result:
    """What a command returns at its end."""
    while True:
        try:
            next(events)
        except StopIteration as end:
            result: Result = end.value
            return result


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--runs", type=Path, default=Path("runs-heads"))
    parser.add_argument("--views", type=int, default=8, help="of each image")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/frozen-heads.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
