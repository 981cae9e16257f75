"""`export-logits --logits`: outputs that were computed elsewhere, as a cache of clean views."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from .. import distributed
from ..cache import CacheWriter
from ..data import Data, DataSpec, ImageSet, find, has_files, load
from ..data.decoded import Progress
from ..data.filedata import training_listing
from ..errors import UsageError
from ..events import Event, Exported, ImportBegins, Note, TeacherScored, Warned
from ..files import sha256_of
from ..metrics import Scores, score
from ..views.policy import Policy
from .caches import UNKNOWN
from .checks import how_kept, refuse_chance
from .export import ExportSettings, check_settings, check_target, fill, is_there, layout_of
from .order import read_names, rows_of
from .outputs_file import (
    Array,
    as_float32,
    blocks,
    check_classes,
    check_logits,
    check_numbers,
    check_rows,
    open_outputs,
)
from .provenance import about_images
from .settings import with_images


@dataclass(frozen=True)
class Foreign:
    """Files of outputs, and what was asked of their cache."""

    logits: Path
    features: Path | None = None
    order: Path | None = None
    """Names the images of the rows; None where they are in the order of the training set."""
    test_logits: Path | None = None
    settings: ExportSettings = field(kw_only=True)
    """Where their cache goes, by default beside the logits as NAME.h5, and its number format."""

    def files(self) -> dict[str, Path]:
        """Those that decide what the cache holds."""
        named = {"logits": self.logits, "features": self.features, "order": self.order}
        return {name: path for name, path in named.items() if path is not None}


def import_outputs(
    images: dict[str, Any], given: Foreign, progress: Progress | None = None
) -> Generator[Event, None, Path]:
    """Writes a cache of the outputs in files, one clean view of each image; returns its path.

    `images` are fields of a DataSpec. Besides the errors of `export_logits`: DataError for files
    that hold no such numbers, DataMismatch where they are not of these images and classes.
    """
    settings = given.settings
    if distributed.size() > 1:
        raise UsageError(
            "Outputs in files are written into a cache by one process.",
            "the same command without torchrun",
        )
    check_settings(settings)
    files = {name: open_outputs(file) for name, file in given.files().items() if name != "order"}
    path = settings.output or given.logits.with_suffix(".h5")
    data = load(with_images(DataSpec(), images), progress)
    yield from how_kept(data)
    yield from map(Warned, data.warnings)
    named = images.get("data") is not None
    outputs = _in_row_order(given, files, data, named)
    _check(given, outputs, data)
    scores, of = _scores(given, outputs["logits"], data)
    attributes = _attributes(given, data, scores, of)
    width = outputs["features"].shape[1] if "features" in outputs else 0
    layout = layout_of(data, 1, width, settings.dtype)
    check_target(path, replace=settings.replace)
    hint = "are the columns in the order of the classes? To insist: --force"
    yield TeacherScored(str(given.logits), of.split, scores.accuracies())
    known = scores.as_dict()
    yield from refuse_chance(str(given.logits), known, layout.classes, hint, settings.replace)
    if not settings.replace and is_there(path, layout, attributes):
        yield Note(f"{path} exists already, with the same outputs and images")
        return path
    beyond = len(files["logits"]) - len(outputs["logits"])
    yield ImportBegins(str(path), str(given.logits), data.name, layout.rows, of.split, beyond)
    yield from fill(path, layout, attributes, settings.replace, lambda to: _write(to, outputs))
    return path


def _in_row_order(
    given: Foreign, files: dict[str, Array], data: Data, named: bool
) -> dict[str, Array]:
    """The outputs of the training images, in the order of the training set.

    `named` says whether these images were asked for, or are the ones of no other choice.
    """
    images = len(data.train.labels)
    if given.order is None:
        for name, outputs in files.items():
            hint = "--order with a file that names the image of every row"
            hint = hint if named else f"--data with the images that {given.logits} is about"
            check_rows(_path(given, name), outputs, images, f"training images in {data.name}", hint)
        return files
    if not has_files(data.spec):
        raise UsageError(
            f"The images of {data.name} have no file names, so --order cannot name them.",
            "leave out --order, and give the rows in the order of the training set",
        )
    names = read_names(given.order)
    for name, outputs in files.items():
        hint = "one line in the --order file for each row"
        check_rows(_path(given, name), outputs, len(names), f"lines in {given.order}", hint)
    rows = rows_of(training_listing(find(data.spec)), names, given.order)
    return {name: outputs[rows] for name, outputs in files.items()}


def _path(given: Foreign, name: str) -> Path:
    return given.files()[name]


def _check(given: Foreign, outputs: dict[str, Array], data: Data) -> None:
    for name, each in outputs.items():
        check_numbers(_path(given, name), each, name.removesuffix("s"))
    check_classes(given.logits, outputs["logits"], data.train.class_names)
    check_logits(given.logits, outputs["logits"])


def _scores(given: Foreign, logits: Array, data: Data) -> tuple[Scores, ImageSet]:
    """Scores, and of which images: of the test set where its logits are given."""
    if given.test_logits is None:
        return _scored(logits, data.train, data), data.train
    found = open_outputs(given.test_logits)
    hint = "give them in the order of the test set"
    check_rows(given.test_logits, found, len(data.test.labels), "test images", hint)
    check_classes(given.test_logits, found, data.test.class_names)
    check_numbers(given.test_logits, found, "logit", "test")
    check_logits(given.test_logits, found)
    return _scored(found, data.test, data), data.test


def _scored(logits: Array, images: ImageSet, data: Data) -> Scores:
    native = logits.astype(logits.dtype.newbyteorder("="), copy=False)
    counts = data.train.class_counts()
    return score(torch.from_numpy(native), images.labels, data.groups, images.class_names, counts)


def _attributes(given: Foreign, data: Data, scores: Scores, of: ImageSet) -> dict[str, Any]:
    policy = Policy("none")
    marks = {name: sha256_of(path) for name, path in given.files().items()}
    names = {name: path.name for name, path in given.files().items()}
    of_test = {}
    if given.test_logits:
        of_test["test_outputs"] = sha256_of(given.test_logits)
        names["test_logits"] = given.test_logits.name
    return {
        **of_test,
        **about_images(data, policy, of),
        "teacher_run": "",
        "teacher_sha256": marks["logits"],
        "teacher_model": {"name": UNKNOWN, "head": UNKNOWN},
        "teacher_method": UNKNOWN,
        "teacher_outputs": marks,
        "teacher_files": names,
        "teacher_recipe": {},
        "teacher_setting": {"outputs": marks},
        "teacher_scores": scores.as_dict(),
        "autocast": UNKNOWN,
        "device": UNKNOWN,
    }


def _write(writer: CacheWriter, outputs: dict[str, Array]) -> Iterator[Exported]:
    """Writes what the cache still lacks of the outputs; yields progress."""
    missing = {*writer.missing().tolist()}
    total = writer.layout.entries
    yield Exported(total - len(missing), total)
    for start, logits in blocks(outputs["logits"]):
        here = range(start, start + len(logits))
        if missing.isdisjoint(here):
            continue
        features = None
        if writer.layout.width:
            features = as_float32(outputs["features"][start : here.stop])
        writer.write(start, logits, features)
        missing.difference_update(here)
        yield Exported(total - len(missing), total)
