"""Cells of a table: each is one `ltkd` command, begun where it is missing, else resumed.

What a cell trains is compared with the settings in the run.json that lies in its place, so that
a run which another program began is taken up, and one of other settings ends the program.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltkd_cli import runs
from ltkd_cli.commands.rebalance_options import Rebalancing, stage_in_words
from ltkd_cli.data import DataSpec
from ltkd_cli.methods.finding import find
from ltkd_cli.methods.options import options
from ltkd_cli.rebalancing.strategies import RETRAINED
from ltkd_cli.training.recipe import Recipe, resolve
from ltkd_cli.views.policy import Policy

PATHS = ("data", "data_root")
"""Options of the images that may differ between programs that train on the same ones."""

IMAGES = {
    name: getattr(DataSpec, name) for name in ("imbalance_type", "imbalance_seed", "validation")
}
"""What decides the training images where nothing else is asked for."""

SPLITS = ("all", "head", "medium", "tail")


@dataclass(frozen=True)
class Place:
    """What all cells of a table share."""

    runs: Path
    images: Mapping[str, Any]
    """Option that says which images, with underscores -> value."""
    device: str = "auto"
    compile: bool = False
    """Whether trainings compile the network."""
    evaluate_every: int = 0
    """Epochs between evaluations on the way; 0 for none."""
    views: int = 16
    """Of each image in a cache."""
    export_precision: str = "float32"
    own_policy: str = "cifar"
    """Of the views that these images have where a training names none."""

    def cache(self, teacher: str) -> Path:
        """Where the cache of a teacher's run lies: beside the run, which stays as it is."""
        return self.runs / f"{teacher}-{self.views}-views.h5"

    def image_arguments(self) -> list[str]:
        """The images' part of a command line."""
        return [text for pair in self.images.items() for text in _option(*pair)]


@dataclass(frozen=True)
class Training:
    """What `teach` or `distill` trains, without its images and its seed."""

    method: str
    model: str
    recipe: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the recipe that are not the preset's."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the method that are not its defaults."""
    policy: str = ""
    """The views that `teach` trains on; empty for those of the images, or of the cache."""
    head: str = ""
    """The last layer; empty for the method's own."""
    classes: str = "all"
    precision: tuple[str, ...] = ()
    """Options that say how to compute; not compared."""

    def arguments(self) -> list[str]:
        """Its own part of the command line."""
        given = ["--method", self.method]
        given += ["--policy", self.policy] if self.policy else []
        given += ["--head", self.head] if self.head else []
        given += ["--classes", self.classes] if self.classes != "all" else []
        given += ["--recipe", self.recipe]
        for pair in self.overrides.items():
            given += _option(*pair)
        for name, value in self.options.items():
            given += ["--set", f"{name}={_typed(value)}"]
        return [*given, *self.precision]

    def settings(self) -> dict[str, Any]:
        """What run.json holds of it, with every default."""
        method = find(self.method)
        return {
            "method": self.method,
            "model": self.model,
            "head": self.head or method.head,
            "classes": self.classes,
            "options": {one.name: one.default for one in options(method)} | dict(self.options),
            "recipe": dataclasses.asdict(resolve(self.recipe, dict(self.overrides))),
        }


@dataclass(frozen=True)
class Cell:
    """One command and what it leaves."""

    name: str
    begin: tuple[str, ...]
    """The command that begins it."""
    resume: tuple[str, ...]
    """The command that goes on with it; empty where it must be begun anew."""
    state: Callable[[], str]
    """`missing`, `interrupted`, `running` in some process, `failed` or `done`, as it is now."""
    needs: tuple[str, ...] = ()
    """Names of the cells that must be done before."""

    def command(self) -> tuple[str, ...]:
        """What to run now."""
        return self.begin if not self.resume or self.state() == "missing" else self.resume


def teach(place: Place, name: str, training: Training, seed: int) -> Cell:
    """The cell of a run on labels alone."""
    return _training(place, ("teach",), name, training, seed, ())


def distill(
    place: Place, name: str, training: Training, seed: int, teachers: Sequence[str]
) -> Cell:
    """The cell of a student of the caches of some teachers' runs, which it needs."""
    caches = [place.cache(teacher) for teacher in teachers]
    cell = distill_from(place, name, training, seed, teachers, caches, views=place.views)
    return dataclasses.replace(cell, needs=tuple(cache.name for cache in caches))


def distill_from(
    place: Place,
    name: str,
    training: Training,
    seed: int,
    teachers: Sequence[str],
    caches: Sequence[Path],
    views: int | None = None,
) -> Cell:
    """The cell of a student of caches, of these teachers' runs, that are there already.

    Where `views` is given, each holds as many views of an image, and those of its teacher.
    """
    given = [argument for cache in caches for argument in ("--cache", str(cache))]
    return _training(place, ("distill", *given), name, training, seed, teachers, views)


def export(place: Place, teacher: str, policy: str = "", path: Path | None = None) -> Cell:
    """The cell of a teacher's cache; of the views that it was trained on where none are given."""
    path = path or place.cache(teacher)
    own = ("--policy", policy) if policy else ()
    begin = (
        "export-logits", str(place.runs / teacher), *place.image_arguments(),
        "--views", str(place.views),
        "--output", str(path), "--device", place.device, "--precision", place.export_precision,
        *own,
    )  # fmt: skip
    return Cell(path.name, begin, (), lambda: "done" if path.exists() else "missing", (teacher,))


def rebalance(place: Place, name: str, source: str, arguments: Sequence[str]) -> Cell:
    """The cell of a run whose last layer is rebalanced; one that was interrupted leaves nothing."""
    paths = [text for pair in place.images.items() if pair[0] in PATHS for text in _option(*pair)]
    retrains = stage_of(arguments)["how"] in RETRAINED
    seen = ("--evaluate-every", str(place.evaluate_every)) if retrains else ()
    begin = (
        "rebalance", str(place.runs / source), *paths, *arguments, *seen, *_new_run(place, name)
    )  # fmt: skip

    def expected() -> dict[str, Any]:
        return {
            "kind": "rebalance",
            "parents": [_record(place, source)["weights_sha256"]],
            "stage": stage_of(arguments),
        }

    return Cell(name, begin, (), lambda: _state(place, name, expected), (source,))


def finished(place: Place, name: str) -> dict[str, Any] | None:
    """The record of a run that has ended; None where it is missing or unfinished."""
    if not (place.runs / name / "run.json").exists():
        return None
    record = _record(place, name)
    return record if record["status"] == "done" else None


def summary(place: Place, name: str) -> dict[str, Any] | None:
    """What a table keeps of a finished run; None of any other."""
    record = finished(place, name)
    if record is None:
        return None
    names = ("recipe", "model", "options", "seed", "precision")
    return {
        "scores": record["scores"],
        "best": best_on_test(runs.read(place.runs / name).read_metrics(), record),
        "seconds": record["seconds"],
        "data": record["data"]["name"],
        "train_fingerprint": record["data"]["train"],
        "environment": record["environment"],
        **{name: record["settings"][name] for name in names},
    }


def best_on_test(
    metrics: Sequence[Mapping[str, Any]], record: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The epoch with the best test accuracy of those evaluated, and its accuracies in [0, 1].

    Most papers report it; it is chosen on the test set. None where only the end was evaluated.
    """
    seen = [{"epoch": line["epoch"], **line["test"]} for line in metrics if "test" in line]
    if not seen:
        return None
    last = {split: record["scores"][split]["accuracy"] for split in SPLITS}
    trained = (record.get("rebalanced") or [record["settings"]])[-1]
    seen.append({"epoch": trained["recipe"]["epochs"], **last})
    return max(seen, key=lambda accuracies: accuracies["all"])


def differences(record: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """What a run.json holds that is not as expected, one sentence each.

    A setting that is younger than the run has its default, and settings that nobody asks about
    may be anything: paths, the device, how often the run is evaluated.
    """
    recorded: dict[str, Any] = {**record["settings"], "kind": record["kind"]}
    younger = {
        "recipe": dataclasses.asdict(Recipe(epochs=0)),
        "options": expected["options"],
        "data": IMAGES,
    }
    found = []
    for name, wanted in _flat(expected).items():
        part, _, key = name.partition(".")
        default = younger.get(part, {}).get(key)
        value = recorded[part].get(key, default) if key else recorded.get(part)
        if json.loads(json.dumps(wanted)) != value:
            found.append(f"{name} is {value!r}, not {wanted!r}")
    return found


def stage_of(arguments: Sequence[str]) -> dict[str, Any]:
    """What run.json holds of a rebalancing with these options."""
    pairs = zip(arguments[::2], arguments[1::2], strict=True)
    given: dict[str, Any] = {name.removeprefix("--"): value for name, value in pairs}
    if "strength" in given:
        given["strength"] = float(given["strength"])
    asked = Rebalancing(**given)
    return {"how": asked.strategy, "options": asked.options()}


def _training(
    place: Place,
    command: Sequence[str],
    name: str,
    training: Training,
    seed: int,
    teachers: Sequence[str],
    views: int | None = None,
) -> Cell:
    kind = command[0]
    begin = (
        *command, *place.image_arguments(), "--model", training.model, *training.arguments(),
        "--seed", str(seed), "--evaluate-every", str(place.evaluate_every),
        *(("--compile",) if place.compile else ()), *_new_run(place, name),
    )  # fmt: skip

    images = {name: value for name, value in place.images.items() if name not in PATHS}

    def expected() -> dict[str, Any]:
        found = {
            **training.settings(),
            "data": IMAGES | images,
            "kind": kind,
            "seed": seed,
            "parents": [_record(place, one)["weights_sha256"] for one in teachers],
        }
        if not teachers:
            found["views"] = Policy(training.policy or place.own_policy).name
        elif views:
            found["views"] = _record(place, teachers[0])["settings"]["views"]
            found["views_per_image"] = [views] * len(teachers)
        return found

    resume = (kind, "--resume", str(place.runs / name))
    return Cell(name, begin, resume, lambda: _state(place, name, expected))


def _new_run(place: Place, name: str) -> tuple[str, ...]:
    return "--device", place.device, "--name", name, "--runs", str(place.runs)


def _state(place: Place, name: str, expected: Callable[[], dict[str, Any]]) -> str:
    """Where a run stands; ends the program where it is not what the cell would have trained."""
    path = place.runs / name
    if not (path / "run.json").exists():
        return "missing"
    run = runs.read(path)
    wanted = expected()
    parents, number = wanted.pop("parents"), wanted.pop("views_per_image", None)
    if run.kind != wanted["kind"]:
        found = [f"kind is {run.kind!r}, not {wanted['kind']!r}"]
    elif run.kind == "rebalance":
        stage, asked = (
            stage_in_words(one) for one in (run.record["rebalanced"][-1], wanted["stage"])
        )
        found = [f"it was rebalanced by {stage}, not by {asked}"] if stage != asked else []
    else:
        found = differences(run.record, wanted)
    held = [parent.get("views_per_image") for parent in run.record["parents"]]
    if number is not None and number != held:
        found.append(f"views_per_image is {held}, not {number}")
    recorded = json.dumps(run.record["parents"])
    found += [f"no parent has the weights {one}" for one in parents if one not in recorded]
    if found:
        sys.exit(f"{path} is of another table; choose other --runs:\n  " + "\n  ".join(found))
    return run.status


def _record(place: Place, name: str) -> dict[str, Any]:
    return dict(runs.read(place.runs / name).record)


def _flat(expected: Mapping[str, Any]) -> dict[str, Any]:
    """Names of settings, with a dot before those of the recipe and of the method, and values."""
    flat: dict[str, Any] = {}
    for name, value in expected.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": one for key, one in value.items()}
        else:
            flat[name] = value
    return flat


def _option(name: str, value: Any) -> list[str]:
    name = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    return [f"--{name}", _typed(value)]


def _typed(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
