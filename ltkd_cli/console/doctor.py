"""What `ltkd doctor` found."""

from __future__ import annotations

import dataclasses
from typing import Any

from rich.text import Text

from ..commands.doctor import Examined
from ..splits import GROUP_NAMES
from . import terminal as console


def print_examined(examined: Examined) -> None:
    """Counts, then a line for each finding with what to do about it, problems first."""
    counts, groups = examined.train_counts, examined.groups
    sizes = ", ".join(f"{name} {len(groups.classes(name))}" for name in GROUP_NAMES)
    names = {"train": "training"}
    rows = [
        (f"{names.get(split, split)} images", f"{number:,}")
        for split, number in examined.images.items()
    ]
    rows += [
        ("classes", f"{len(counts)}, {max(counts):,} to {min(counts):,} training images each"),
        ("groups", f"{groups.describe()}: {sizes} classes"),
    ]
    console.facts(examined.name, rows, to=console.STDOUT)
    console.result("")
    for finding in examined.findings:
        word, colour = ("problem:", "red") if finding.serious else ("note:", "yellow")
        console.result_text(Text.assemble((word, colour), f" {finding.text}"))
        if finding.advice:
            console.result_text(Text.assemble(("    try:", "bold"), f" {finding.advice}"))
    problems = len(examined.problems)
    console.result(f"{problems or 'no'} problem{'s' * (problems != 1)} found")


def examined_document(examined: Examined) -> dict[str, Any]:
    """The same for programs."""
    interval = examined.tail_interval
    names = zip(
        examined.class_names,
        examined.train_counts,
        examined.test_counts,
        examined.groups.of_class,
        strict=True,
    )
    return {
        "name": examined.name,
        "images": examined.images,
        "group_rule": examined.groups.rule,
        "tail_interval": None if interval is None else list(interval),
        "problems": len(examined.problems),
        "findings": [dataclasses.asdict(finding) for finding in examined.findings],
        "classes": [
            {"class": name, "train": train, "test": test, "group": group}
            for name, train, test, group in names
        ],
    }
