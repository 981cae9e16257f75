"""The head, medium and tail groups that class counts form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..splits import GROUP_NAMES

MORE_THAN_HEAD = 100
"""A class with more training images than this is a head class (Kang et al., ICLR 2020)."""

FEWER_THAN_TAIL = 20
"""A class with fewer training images than this is a tail class (Kang et al., ICLR 2020)."""


@dataclass(frozen=True)
class Groups:
    """Which group each class belongs to, and the rule that said so."""

    rule: str
    """`counts` (more than 100, 20 to 100, fewer than 20 images) or `rank` (thirds by size)."""
    of_class: tuple[str, ...]
    """One of `GROUP_NAMES` for every class."""

    def classes(self, group: str) -> list[int]:
        """Class indices of one group, in class order; empty where it has none."""
        return [c for c, name in enumerate(self.of_class) if name == group]

    def describe(self) -> str:
        """The rule in words, for tables."""
        if self.rule == "counts":
            return f"head > {MORE_THAN_HEAD} training images, tail < {FEWER_THAN_TAIL}"
        return "thirds of the classes by training images"


def group_classes(class_counts: Sequence[int], rule: str = "auto") -> Groups:
    """Groups by count; by rank (thirds) where counting would leave a group empty.

    `rule` is `counts`, `rank` or `auto`. Ranks are those of LTKD (arXiv:2506.18496):
    the first 33 % of the classes by size, the next 34 %, the last 33 %; the thirds are
    rounded so that no group is empty where there are three classes or more.
    """
    by_count = Groups("counts", tuple(_group_of_count(count) for count in class_counts))
    complete = all(by_count.classes(group) for group in GROUP_NAMES)
    if rule == "counts" or (rule == "auto" and complete):
        return by_count
    third = round(0.33 * len(class_counts))
    largest_first = sorted(range(len(class_counts)), key=lambda c: -class_counts[c])
    names = ["medium"] * len(class_counts)
    for c in largest_first[:third]:
        names[c] = "head"
    for c in largest_first[len(class_counts) - third :]:
        names[c] = "tail"
    return Groups("rank", tuple(names))


def _group_of_count(count: int) -> str:
    if count > MORE_THAN_HEAD:
        return "head"
    return "tail" if count < FEWER_THAN_TAIL else "medium"
