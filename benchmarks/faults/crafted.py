"""Files that nobody wrote by accident: right checksums, odd contents, drawn by Hypothesis."""

from __future__ import annotations

import copy
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from benchmarks.faults import story
from benchmarks.faults.calling import REFUSALS, Said, call, refused
from benchmarks.faults.children import Case, outcomes
from benchmarks.faults.forging import forge, forge_attributes
from benchmarks.faults.story import DISTILL, Place
from ltkd_cli import models
from ltkd_cli.cache import Cache
from ltkd_cli.errors import CheckpointError
from ltkd_cli.files import named_in
from ltkd_cli.runs.record import sealed

TEXTS = st.text(max_size=20) | st.sampled_from(
    ["\x1b[31m", "\x00", "../../x", "nan", "x" * 5000, "\udcff", "\u202egpj.h5", "$(reboot)"]
)
NUMBERS = st.sampled_from([0, -1, 1, 2**31, 2**63, 2**64, 10**30, 0.5, -0.0, 1e308, 5e-324])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
"""What JSON can hold."""

Check = Callable[[Any], str]

FAMILIES: dict[str, tuple[Callable[[Path], tuple[st.SearchStrategy[Any], Check]], int]] = {}
"""By what is crafted: what makes the strategy and the check, and how many examples there are."""


def family(name: str, examples: int) -> Callable[[Any], Any]:
    """Adds a kind of files."""

    def add(make: Any) -> Any:
        FAMILIES[name] = (make, examples)
        return make

    return add


def crafted_files(place: Place, random: Random, share: float) -> Iterator[tuple[str, str]]:
    """Name of each file, and what is wrong with the answers to it."""
    folder = place.copy("crafted")
    story.enter(folder)
    for name, (make, examples) in FAMILIES.items():
        strategy, check = make(folder)
        number, drawn = max(2, round(examples * share)), random.randrange(2**32)
        values = _drawn(strategy, number, drawn)
        cases = [Case(f"{name} {n}", partial(check, value)) for n, value in enumerate(values)]
        for value, wrong in zip(values, outcomes(cases), strict=True):
            yield f"{name}: {str(value)[:300]!a}", wrong


def _drawn(strategy: st.SearchStrategy[Any], number: int, drawn: int) -> list[Any]:
    """Examples, the same for the same seed."""
    found: list[Any] = []

    @seed(drawn)
    @settings(
        max_examples=number,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )
    @given(strategy)
    def keep(value: Any) -> None:
        found.append(copy.deepcopy(value))

    keep()
    return found


def _places(value: Any, inside: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value in a JSON value, as names and numbers."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in items:
        yield (*inside, key)
        if isinstance(each, dict | list):
            yield from _places(each, (*inside, key))


def _changes(record: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The record with a few values in place of others, and a few left out."""
    ways = list(_places(record))
    change = st.tuples(st.sampled_from(ways), VALUES, st.booleans())

    def changed(changes: list[tuple[tuple[Any, ...], Any, bool]]) -> dict[str, Any]:
        other = copy.deepcopy(record)
        for (*way, last), value, gone in changes:
            inside: Any = other
            try:
                for key in way:
                    inside = inside[key]
                if gone:
                    del inside[last]
                else:
                    inside[last] = value
            except (KeyError, IndexError, TypeError):
                continue  # another change was there before
        return other

    return st.lists(change, min_size=1, max_size=3).map(changed)


def _answered(said: Said) -> str:
    """What is wrong with an answer to something odd: it may be done, or refused."""
    if "\x1b" in said.out + said.err:
        return "an escape for the terminal"
    return "" if said.code == 0 else refused(said, (*REFUSALS, 5))


def _all(*commands: tuple[object, ...]) -> str:
    return next(filter(None, (_answered(call(*command)) for command in commands)), "")


@family("run.json of other values", 400)
def _records(folder: Path) -> tuple[st.SearchStrategy[Any], Check]:
    file = folder / "runs/student/run.json"

    def check(record: dict[str, Any]) -> str:
        file.write_text(json.dumps(sealed(record)))
        said = call("runs")
        if said.code or "teacher" not in said.out:
            return f"other runs are not listed: {said.err[-200:]}"
        return _all(
            ("runs", "show", "student"),
            ("runs", "show", "student", "--json"),
            ("eval", "student"),
            ("distill", "--resume", "student"),
        )

    return _changes(json.loads(file.read_text())), check


@family("run.json of any bytes", 150)
def _texts(folder: Path) -> tuple[st.SearchStrategy[Any], Check]:
    file = folder / "runs/student/run.json"

    def check(data: bytes) -> str:
        file.write_bytes(data)
        return refused(call("eval", "student")) or _answered(call("runs"))

    anything = st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode())
    return anything, check


@family("metrics.jsonl", 60)
def _metrics(folder: Path) -> tuple[st.SearchStrategy[Any], Check]:
    record = json.loads((folder / "runs/other/run.json").read_text())
    (folder / "runs/other/run.json").write_text(
        json.dumps(sealed({**record, "status": "interrupted"}))
    )

    def check(value: Any) -> str:
        line = json.dumps(sealed(value) if isinstance(value, dict) else value)
        (folder / "runs/other/metrics.jsonl").write_text(line + "\n")
        shutil.copytree(folder / "runs/other", folder / "runs/again", dirs_exist_ok=True)
        return _answered(call("teach", "--resume", "again"))

    return st.dictionaries(st.sampled_from(["epoch", "x"]), VALUES) | VALUES, check


@family("attributes of a cache", 250)
def _attributes(folder: Path) -> tuple[st.SearchStrategy[Any], Check]:
    whole = (folder / "cache.h5").read_bytes()
    held = Cache.open(folder / "cache.h5").attributes

    def check(attributes: dict[str, Any]) -> str:
        (folder / "cache.h5").write_bytes(whole)
        try:
            forge_attributes(folder / "cache.h5", *(held.keys() - attributes.keys()), **attributes)
        except UnicodeEncodeError:
            return ""  # no file can hold that
        return _all(
            ("cache", "verify", "cache.h5"),
            ("cache", "info", "cache.h5"),
            ("cache", "info", "cache.h5", "--json"),
            ("eval", "cache.h5"),
            (*DISTILL, "--epochs", 1),
        )

    return _changes(held), check


@family("trailer of a cache", 150)
def _trailers(folder: Path) -> tuple[st.SearchStrategy[Any], Check]:
    whole = (folder / "other.h5").read_bytes()
    kept: dict[str, Any] = {}
    forge(folder / "other.h5", kept.update)

    def check(text: dict[str, Any]) -> str:
        (folder / "other.h5").write_bytes(whole)
        try:
            forge(folder / "other.h5", lambda _: json.dumps(text).encode())
        except (ValueError, KeyError, TypeError, OSError):
            return ""  # nobody can seal that
        return _all(("cache", "verify", "other.h5"), ("eval", "other.h5"))

    return _changes(kept), check


@family("header of weights", 150)
def _weights(folder: Path) -> tuple[st.SearchStrategy[Any], Check]:
    file = folder / "runs/teacher/model.safetensors"
    whole = file.read_bytes()
    end = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:end])
    header["__metadata__"]["ltkd_model"] = json.loads(header["__metadata__"]["ltkd_model"])

    def check(changed: dict[str, Any]) -> str:
        metadata = changed.get("__metadata__")
        if isinstance(metadata, dict) and "ltkd_model" in metadata:
            metadata = {**metadata, "ltkd_model": json.dumps(metadata["ltkd_model"])}
            changed = {**changed, "__metadata__": metadata}
        text = json.dumps(changed).encode()
        file.write_bytes(len(text).to_bytes(8, "little") + text + whole[end:])
        try:
            models.load(file)
        except CheckpointError as error:
            return "" if str(file) in error.problem else str(error)
        return ""

    return _changes(header), check


@family("lists and manifests", 250)
def _lists(folder: Path) -> tuple[st.SearchStrategy[Any], Check]:
    def check(found: tuple[str, str]) -> str:
        ending, text = found
        file = folder / f"odd_train{ending}"
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
        (folder / "odd_test.txt").write_bytes(file.read_bytes())
        try:
            return _answered(call("data", file.name))
        finally:
            file.unlink()

    images = [f"images/train/{name}/{n}.png" for name in story.CLASSES for n in range(2)]
    word = st.sampled_from([*images, *"0123", "path,label,split", "train", "test", "-1"]) | TEXTS
    line = st.lists(word, max_size=4).flatmap(
        lambda words: st.sampled_from([" ", ",", "\t"]).map(lambda between: between.join(words))
    )
    text = st.lists(line, max_size=6).map("\n".join)
    return st.tuples(st.sampled_from([".txt", ".csv", ".tsv"]), text.filter(_is_writable)), check


@family("JSON of annotations", 200)
def _annotations(folder: Path) -> tuple[st.SearchStrategy[Any], Check]:
    files = [f"images/train/{name}/0.png" for name in story.CLASSES]
    whole = {
        "images": [{"id": n, "file_name": name} for n, name in enumerate(files)],
        "annotations": [{"id": n, "image_id": n, "category_id": n} for n in range(len(files))],
        "categories": [{"id": n, "name": name} for n, name in enumerate(story.CLASSES)],
    }

    def check(value: Any) -> str:
        for split in ("train", "val"):
            (folder / f"{split}2018.json").write_text(json.dumps(value))
        return _answered(call("data", "train2018.json"))

    return _changes(whole) | VALUES, check


@family("arrays of images", 100)
def _arrays(folder: Path) -> tuple[st.SearchStrategy[Any], Check]:
    names = ("train_images", "train_labels", "test_images", "test_labels")
    kinds = st.sampled_from(["u1", "i4", "i8", "f4", "f8", "b1", "U3", "c8"])
    shapes = st.lists(st.integers(0, 5), max_size=4).map(tuple)
    array = st.tuples(kinds, shapes).map(lambda found: np.zeros(found[1], found[0]))

    def check(arrays: dict[str, Any]) -> str:
        data = io.BytesIO()
        np.savez(data, **arrays)
        (folder / "odd.npz").write_bytes(data.getvalue())
        return _answered(call("data", "odd.npz"))

    return st.dictionaries(st.sampled_from(names), array), check


@family("lock files", 200)
def _locks(folder: Path) -> tuple[st.SearchStrategy[Any], Check]:
    holder = {"pid": os.getpid(), "host": "x", "start": "2026-01-01T00:00:00+00:00"}

    def check(value: Any) -> str:
        (folder / "odd.lock").write_text(json.dumps(value))
        found = named_in(folder / "odd.lock")
        return "" if found is None or (found.pid > 0 and str(found).isprintable()) else str(found)

    return _changes(holder) | VALUES, check


def _is_writable(text: str) -> bool:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True
