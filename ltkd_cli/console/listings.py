"""What there is: runs, methods, image sets, caches."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from rich.markup import escape

from ..cache import Cache
from ..commands.caches import accuracies_in_words, contents, needs_in_words
from ..data import Data
from ..data.failures import printable
from ..data.groups import GROUP_NAMES, group_classes
from ..data.longtail import gini, imbalance_factor
from ..methods.contract import Method
from ..methods.finding import all_names, find, source_of
from ..methods.options import options
from ..runs import Run
from . import terminal as console
from .terminal import percent

COMPUTED = ("created", "autocast", "device")
"""Attributes of a cache that say when, how and where its numbers came about."""

BAR = 40
"""Width of the longest bar of the histogram, in characters."""

MAX_BARS = 40
"""Classes that get a bar of their own; beyond it neighbours share one."""


def print_run(run: Run) -> None:
    """Where a finished run lies, and what it reached."""
    if held_out := run.record.get("validation_scores"):
        console.note(f"  validation accuracy {_reached(held_out)} percent")
    console.result(
        f"{run.path}: test accuracy {_reached(run.record['scores'])} percent, "
        f"{console.duration(run.record['seconds'])}"
    )


def print_next(made: Sequence[Run]) -> None:
    """The command that follows on runs that one command has made."""
    root = made[0].path.parent
    following = "ltkd export-logits" if made[0].kind == "teach" else "ltkd eval --split tail"
    if len(made) > 1:
        following = f"ltkd eval {' '.join(quote(run.name) for run in made)}"
    console.note(
        f"next: {following}{'' if root == Path('runs') else f' --runs {quote(str(root))}'}"
    )


def print_runs(found: Iterable[Run], root: Path) -> None:
    """A line for every run, oldest first."""
    rows = [_run_row(run) for run in found]
    if not rows:
        console.note(f"There are no runs in {root} yet. Begin with: ltkd teach")
        return
    console.table(("run", "images", "all", *GROUP_NAMES, "time"), rows, words=2)
    console.note("all, head, medium and tail: test accuracy in percent")


def print_methods() -> None:
    """A line for every method."""
    found = {name: find(name) for name in all_names()}
    rows = [(name, _needs(method), _title(method)) for name, method in found.items()]
    console.table(("method", "reads", "what it is"), rows, words=3)
    console.note("One with its formula, options and source: ltkd methods bkd")


def print_method(name: str) -> None:
    """Everything about one method."""
    method = find(name)
    console.styled(f"[bold]{name}[/]\n\n{escape(_title(method))}.\n")
    for paragraph in inspect.cleandoc(method.__doc__ or "").split("\n\n"):
        console.result(" ".join(paragraph.split()) + "\n")
    console.facts(
        "It asks for",
        [
            ("from the cache", _needs(method)),
            ("sampling", method.sampler),
            ("teacher trained by", method.teacher if method.needs else "-"),
            ("last layer", method.head),
        ],
        to=console.STDOUT,
    )
    rows = [(f"{option.name}={option.default}", option.help) for option in options(method)]
    console.result("")
    console.facts("Options, for --set", rows or [("none", "")], to=console.STDOUT)


def methods_document(name: str | None) -> Any:
    """The same for programs: one method, or all in a list."""
    if name is not None:
        return _method_document(name)
    return [_method_document(each) for each in all_names()]


def print_data(data: Data) -> None:
    """Counts, imbalance, groups and a histogram of an image set."""
    counts = data.train.class_counts()
    height, width = data.train.images.size
    held = [] if data.validation is None else [data.validation]
    console.facts(
        data.name,
        [
            ("training images", f"{sum(counts):,} of {height} x {width} pixels"),
            *((f"{each.split} images", f"{len(each.labels):,}") for each in [*held, data.test]),
            ("classes", f"{len(counts)}, {max(counts):,} to {min(counts):,} images each"),
            ("imbalance factor", f"{imbalance_factor(counts):.4g}"),
            ("Gini coefficient", f"{gini(counts):.3f}"),
            ("groups", f"{data.groups.describe()}: {_group_sizes(data)} classes"),
            ("rarest third", _rarest_third(data, counts)),
            ("views", data.views),
            ("fingerprint", data.train.fingerprint[:16]),
        ],
        to=console.STDOUT,
    )
    console.result("")
    for line in _histogram(data, counts):
        console.styled(line)


def data_document(data: Data) -> dict[str, Any]:
    """The same for programs."""
    counts = data.train.class_counts()
    test_counts = data.test.class_counts()
    return {
        "name": data.name,
        "train_images": sum(counts),
        "validation_images": 0 if data.validation is None else len(data.validation.labels),
        "test_images": sum(test_counts),
        "test_split": data.test.split,
        "image_size": list(data.train.images.size),
        "imbalance_factor": imbalance_factor(counts),
        "gini": gini(counts),
        "group_rule": data.groups.rule,
        "fingerprint": data.train.fingerprint,
        "warnings": list(data.warnings),
        "classes": [
            {"class": name, "train": counts[c], "test": test_counts[c], "group": group}
            for c, (name, group) in enumerate(
                zip(data.train.class_names, data.groups.of_class, strict=True)
            )
        ],
    }


def print_cache(cache: Cache) -> None:
    """What a cache holds and whose answers they are."""
    held = cache.attributes
    console.facts(
        str(cache.path),
        [
            ("images", f"{held['image_set']}: {_in_words(_chosen(held['data_spec']))}"),
            ("fingerprint", held["fingerprint"][:16]),
            ("holds", contents(cache)),
            ("views", f"{held['view_policy']}, seed {held['view_seed']}"),
            ("size", f"{cache.path.stat().st_size / 1e6:,.1f} MB"),
            ("teacher", f"{held['teacher_model']['name']} trained by {held['teacher_method']}"),
            ("teacher's accuracy", accuracies_in_words(held["teacher_scores"])),
            ("teacher's run", f"{held['teacher_run']}, weights {held['teacher_sha256'][:16]}"),
            ("teacher's recipe", _in_words(held.get("teacher_recipe", {}))),
            ("computed", " ".join(str(held.get(name, "")) for name in COMPUTED)),
            ("written by", _in_words({name: held.get(name) for name in ("ltkd", "torch", "h5py")})),
        ],
        to=console.STDOUT,
    )
    console.note("everything it says of itself: ltkd cache info --json")


def _reached(scores: dict[str, Any]) -> str:
    return console.accuracies({name: scores[name]["accuracy"] for name in ("all", *GROUP_NAMES)})


def _run_row(run: Run) -> tuple[str, ...]:
    images = run.record.get("data", {}).get("name", "")
    if not run.done:
        return (run.name, images, "", "", "", "", run.status)
    scores = run.record["scores"]
    shares = [percent(scores[name]["accuracy"]) for name in ("all", *GROUP_NAMES)]
    return (run.name, images, *shares, console.duration(run.record["seconds"]))


def _chosen(data_spec: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data_spec.items() if value not in (None, False)}


def _in_words(values: dict[str, Any]) -> str:
    """`name value` after `name value`; what is off is left out."""
    shown = ((name.replace("_", " "), value) for name, value in values.items())
    return ", ".join(f"{name} {_value(value)}" for name, value in shown if value)


def _value(value: Any) -> str:
    return " and ".join(map(str, value)) if isinstance(value, list) else str(value)


def _method_document(name: str) -> dict[str, Any]:
    method = find(name)
    return {
        "name": name,
        "needs": sorted(method.needs),
        "sampler": method.sampler,
        "teacher": method.teacher if method.needs else None,
        "head": method.head,
        "source": source_of(method),
        "description": inspect.cleandoc(method.__doc__ or ""),
        "options": [
            {"name": o.name, "type": o.kind.__name__, "default": o.default, "help": o.help}
            for o in options(method)
        ],
    }


def _needs(method: type[Method]) -> str:
    return needs_in_words(method) or "-"


def _title(method: type[Method]) -> str:
    """The first sentence of the file's docstring, which says what the method is."""
    module = inspect.getmodule(method)
    return inspect.cleandoc(module.__doc__ or "").split("\n")[0].rstrip(".") if module else ""


def _group_sizes(data: Data) -> str:
    return ", ".join(f"{name} {len(data.groups.classes(name))}" for name in GROUP_NAMES)


def _rarest_third(data: Data, counts: list[int]) -> str:
    """How many classes, and how many test images tell their accuracy."""
    classes = group_classes(counts, "rank").classes("tail")
    test = data.test.class_counts()
    images = sum(test[c] for c in classes)
    return f"classes {len(classes)}, {data.test.split} images that tell their accuracy {images:,}"


def _histogram(data: Data, counts: list[int]) -> Iterable[str]:
    """One bar for each class, the largest first, or for each run of classes of similar size."""
    colours = {"head": "green", "medium": "yellow", "tail": "red"}
    order = sorted(range(len(counts)), key=lambda c: -counts[c])
    share = -(-len(counts) // MAX_BARS)
    names = [printable(name) for name in data.train.class_names]
    label_width = min(20, max(len(name) for name in names))
    for begin in range(0, len(counts), share):
        part = order[begin : begin + share]
        mean = sum(counts[c] for c in part) / len(part)
        bar = "█" * max(1, round(BAR * mean / max(counts)))
        name = names[part[0]] if share == 1 else f"{begin + 1}-{begin + len(part)}"
        colour = colours[data.groups.of_class[part[0]]]
        yield f"  {escape(name[:20]):>{label_width}} [{colour}]{bar}[/] {mean:,.0f}"
