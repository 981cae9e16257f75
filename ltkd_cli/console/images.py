"""Image sets: their classes, how long the tail is, and their groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from rich.markup import escape

from ..data import Data
from ..data.groups import group_classes
from ..data.longtail import gini, imbalance_factor
from ..errors import printable
from ..splits import GROUP_NAMES
from . import terminal
from .storage import place

BAR = 40
"""Width of the longest bar of the histogram, in characters."""

MAX_BARS = 40
"""Classes that get a bar of their own; beyond it neighbours share one."""


def print_data(data: Data) -> None:
    """Counts, imbalance, groups and a histogram of an image set."""
    counts = data.train.class_counts()
    height, width = data.train.images.size
    held = [] if data.validation is None else [data.validation]
    terminal.facts(
        data.name,
        [
            ("training images", f"{sum(counts):,} of {height} x {width} pixels"),
            *((f"{each.split} images", f"{len(each.labels):,}") for each in [*held, data.test]),
            *([("decoded images", place(data.kept))] if data.kept else []),
            ("classes", f"{len(counts)}, {max(counts):,} to {min(counts):,} images each"),
            ("imbalance factor", f"{imbalance_factor(counts):.4g}"),
            ("Gini coefficient", f"{gini(counts):.3f}"),
            ("groups", f"{data.groups.describe()}: {_group_sizes(data)} classes"),
            ("rarest third", _rarest_third(data, counts)),
            ("views", data.views),
            ("fingerprint", data.train.fingerprint[:16]),
        ],
        to=terminal.STDOUT,
    )
    terminal.result("")
    for line in _histogram(data, counts):
        terminal.styled(line)


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
        "decoded": None if data.kept is None else dataclasses.asdict(data.kept),
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
