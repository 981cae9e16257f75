"""A small export: three classes, varied views for each row, numbers made from a seed."""

from pathlib import Path

import h5py
import numpy as np

from ltkd_cli.cache import CacheWriter, Layout

LABELS = np.array([0, 0, 0, 1, 1, 2], dtype=np.int32)
FIRST = np.array([0, 1, 2, 4, 6, 9, 12])
"""One view for rows 0 and 1, two for rows 2 and 3, three for rows 4 and 5."""

BLOCK = 4
"""Entries that are written at once."""


def example_layout(dtype="float16", width=5, first=FIRST, labels=LABELS, classes=3):
    return Layout(len(labels), classes, width, np.asarray(first), np.asarray(labels), dtype)


def example_attributes(**changed):
    return {
        "image_set": "example",
        "fingerprint": "f" * 64,
        "class_names": ["ant", "bee", "cat"],
        "class_counts": [3, 2, 1],
        "data_spec": {"data": "example", "imbalance": 3.0, "imbalance_seed": 0, "root": None},
        "test_fingerprint": "7" * 64,
        "policy": {"spec": "crop", "seed": 0, "versions": {"crop": 1}},
        "view_policy": "crop",
        "view_seed": 0,
        "view_version": 1,
        "teacher_run": "0001-teach",
        "teacher_sha256": "a" * 64,
        "teacher_model": {"name": "resnet20", "classes": 3, "mean": [0.5, 0.5, 0.5]},
        "teacher_scores": {"all": 0.75, "head": 0.9, "medium": None, "tail": 0.5},
        "autocast": None,
        "device": "cuda:0",
        "mix": False,
        **changed,
    }


def example_outputs(layout):
    """Logits [R, C] and features [R, D] (or None), float32."""
    generator = np.random.default_rng(7)
    logits = generator.normal(0, 4, (layout.entries, layout.classes)).astype(np.float32)
    features = generator.random((layout.entries, layout.width), dtype=np.float32)
    return logits, features if layout.width else None


def fill(writer, entries=None, flush=False):
    """Writes the given entries, or all that are missing, in blocks."""
    logits, features = example_outputs(writer.layout)
    todo = writer.missing() if entries is None else np.asarray(entries)
    breaks = np.flatnonzero((np.diff(todo) != 1) | (todo[1:] % BLOCK == 0)) + 1
    for block in np.split(todo, breaks):
        rows = slice(block[0], block[-1] + 1) if len(block) else slice(0, 0)
        writer.write(rows.start, logits[rows], None if features is None else features[rows])
        if flush:
            writer.flush()


def export(path, layout=None, attributes=None, **options):
    """Writes the whole example to `path`, taking up a partial file that is there."""
    layout = layout or example_layout()
    with CacheWriter(path, layout, attributes or example_attributes(), **options) as writer:
        fill(writer)
        return writer.finish()


def partial_of(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".partial.lock")


def begin(path, entries=(0, 1, 2, 3), **options):
    """Leaves a partial file that holds some entries."""
    with CacheWriter(path, example_layout(), example_attributes(), **options) as writer:
        fill(writer, entries)


def datasets(path):
    """The stored bytes of every dataset, by name."""
    with h5py.File(path) as file:
        return {name: file[name][:].tobytes() for name in file}


def change_byte(path, name, entry):
    """Flips one bit of an entry's first byte."""
    with h5py.File(path) as file:
        dataset = file[name]
        offset = dataset.id.get_offset() + entry * dataset.nbytes // len(dataset)
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))
