"""Which line of a file names which image: as the rule says it, pair by pair."""

import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ltkd_cli.commands.order import rows_of
from ltkd_cli.errors import DataMismatch

ROOT = "/data/images"


def by_the_rule(keys, names):
    """The row of each image, by comparing it with every name; None where there is not just one."""
    above = ROOT.strip("/").split("/")
    found = []
    for key in keys:
        own = key.split("/")
        whole = above + own
        split = [[part for part in name.split("/") if part not in ("", ".")] for name in names]
        rows = [row for row, name in enumerate(split) if whole[-len(name) :] == name]
        if not rows:
            longer = [row for row, name in enumerate(split) if name[-len(own) :] == own]
            shared = [common(split[row], whole) for row in longer]
            rows = [
                row for row, length in zip(longer, shared, strict=True) if length == max(shared)
            ]
        if len(rows) != 1:
            return None
        found += rows
    return found if len({*found}) == len(found) else None


def common(one, other):
    length = 0
    while length < min(len(one), len(other)) and one[-1 - length] == other[-1 - length]:
        length += 1
    return length


def made_up(seed):
    """Images in folders, and names that may or may not tell them apart."""
    draw = random.Random(seed)
    keys = sorted(
        {
            "/".join(draw.choice("ab") for _ in range(draw.randint(0, 2))) + f"/{number}.png"
            for number in (draw.randint(0, 3) for _ in range(5))
        }
    )
    keys = [key.lstrip("/") for key in keys]
    keys = list(dict.fromkeys(keys))
    names = []
    for key in keys:
        start = draw.choice(["", "./", "images/", "/data/images/", "else/", "old/images/"])
        names.append(start + (key if draw.random() < 0.8 else key.rpartition("/")[2]))
    names += [f"spare/{draw.randint(0, 3)}.png" for _ in range(draw.randint(0, 2))]
    draw.shuffle(names)
    return keys, list(dict.fromkeys(names))


def test_every_image_gets_the_row_that_the_rule_gives_it():
    told_apart = 0
    for seed in range(400):
        keys, names = made_up(seed)
        expected = by_the_rule(keys, names)
        images = SimpleNamespace(keys=keys, root=ROOT)
        if expected is None:
            with pytest.raises(DataMismatch):
                rows_of(images, names, Path("order.txt"))
        else:
            assert rows_of(images, names, Path("order.txt")).tolist() == expected
            told_apart += 1
    assert 100 < told_apart < 390


def test_file_names_that_every_class_has_take_no_time_for_each_pair():
    """A million pairs of one file name; by the pair, this took minutes."""
    keys = [f"{label}/{number}.png" for label in range(1_000) for number in range(20)]
    order = np.random.default_rng(0).permutation(len(keys))
    names = [f"train/{keys[row]}" for row in order]
    found = rows_of(SimpleNamespace(keys=keys, root="/somewhere"), names, Path("order.txt"))
    assert np.array_equal(order[found], np.arange(len(keys)))
