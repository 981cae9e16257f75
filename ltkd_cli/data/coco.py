"""Image sets in JSON: as iNaturalist and COCO have them, and as BagofTricks-LT writes them.

The former have lists `images` (id, file_name), `annotations` (image_id, category_id) and
`categories` (id, name). BagofTricks-LT's converters write `annotations` with `fpath` and
`category_id`, and `num_classes`.

Sources: https://github.com/visipedia/inat_comp, https://cocodataset.org/#format-data,
https://github.com/zhangyongshun/BagofTricks-LT
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from ..errors import DataError, printable
from .failures import name_some
from .lists import read_text
from .splits import ONE_LABEL
from .table import Table

Id = int | str

MAX_CLASSES = 1_000_000


def read_json(path: Path) -> Table:
    """The table of a JSON file; DataError that names the entry where one is odd."""
    try:
        whole = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path} cannot be read as JSON: {printable(str(error))}.",
            f"python -m json.tool {quote(str(path))}",
        ) from error
    if not isinstance(whole, dict):
        raise DataError(f"{path} holds no JSON object but a {type(whole).__name__}.", _form())
    annotations = _entries(path, whole, "annotations")
    if not annotations:
        raise DataError(
            f"{path} has no annotations, so its images have no classes.",
            "--test-list with the file of a split that has them",
        )
    if "images" not in whole and "fpath" in annotations[0]:
        return _of_bag_of_tricks(path, whole, annotations)
    return _of_coco(path, whole, annotations)


def _of_coco(path: Path, whole: dict[str, Any], annotations: list[dict[str, Any]]) -> Table:
    files = _by_id(path, whole, "images", "file_name")
    names = _category_names(path, _by_id(path, whole, "categories", "name"))
    category_of: dict[Id, Id] = {}
    for n, annotation in enumerate(annotations):
        place = f"annotations[{n}]"
        image = _id(path, place, annotation, "image_id")
        category = _id(path, place, annotation, "category_id")
        if image not in files or category not in names:
            unknown = f"image {image!r}" if image not in files else f"category {category!r}"
            raise DataError(f"{place} of {path} speaks of {unknown}, which is not listed.", _form())
        if category_of.setdefault(image, category) != category:
            raise DataError(
                f"{printable(files[image])} has two categories in {path}: "
                f"{names[category_of[image]]!r} and {names[category]!r}.",
                ONE_LABEL,
            )
    rows = [image for image in files if image in category_of]
    return Table(
        path,
        [files[image] for image in rows],
        [names[category_of[image]] for image in rows],
        classes=tuple(names.values()),
        warnings=_unlabelled(path, [files[image] for image in files if image not in category_of]),
    )


def _of_bag_of_tricks(
    path: Path, whole: dict[str, Any], annotations: list[dict[str, Any]]
) -> Table:
    classes = whole.get("num_classes")
    if type(classes) is not int or not 2 <= classes <= MAX_CLASSES:
        raise DataError(f"num_classes of {path} is no number of classes: {classes!r:.60}.", _form())
    places = [f"annotations[{n}]" for n in range(len(annotations))]
    rows = list(zip(places, annotations, strict=True))
    labels = [_id(path, place, each, "category_id") for place, each in rows]
    for place, label in zip(places, labels, strict=True):
        if not (isinstance(label, int) and 0 <= label < classes):
            raise DataError(
                f"{place} of {path} has category_id {label!r}; with num_classes {classes} they "
                f"run from 0 to {classes - 1}.",
                _form(),
            )
    return Table(
        path,
        [_text(path, place, each, "fpath") for place, each in rows],
        [str(label) for label in labels],
        classes=tuple(str(label) for label in range(classes)),
    )


def _by_id(path: Path, whole: dict[str, Any], entries: str, text: str) -> dict[Id, str]:
    """A text of every entry by the entry's id; DataError where two have the same id."""
    found: dict[Id, str] = {}
    for n, entry in enumerate(_entries(path, whole, entries)):
        place = f"{entries}[{n}]"
        number = _id(path, place, entry, "id")
        if number in found:
            raise DataError(
                f"{place} of {path} has the id {number!r}, which an earlier one has.",
                "give each its own, also where two files were put together",
            )
        found[number] = _text(path, place, entry, text)
    return found


def _category_names(path: Path, names: dict[Id, str]) -> Mapping[Id, str]:
    """Names by id, in the order of the ids."""
    if double := [name for name, count in Counter(names.values()).items() if count > 1]:
        raise DataError(
            f"Categories of {path} that share a name: {name_some(double)}.", "give each its own"
        )
    return dict(sorted(names.items(), key=lambda pair: (isinstance(pair[0], str), pair[0])))


def _unlabelled(path: Path, files: list[str]) -> tuple[str, ...]:
    if not files:
        return ()
    return (f"Images of {path} without an annotation, which are left out: {len(files):,}.",)


def _entries(path: Path, whole: dict[str, Any], name: str) -> list[dict[str, Any]]:
    entries = whole.get(name)
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise DataError(f"{path} has no list {name} of JSON objects.", _form())
    return entries


def _id(path: Path, place: str, entry: dict[str, Any], name: str) -> Id:
    value = entry.get(name)
    if type(value) is int or isinstance(value, str):
        return value
    raise DataError(f"{place} of {path} has no {name}, but {value!r:.60}.", _form())


def _text(path: Path, place: str, entry: dict[str, Any], name: str) -> str:
    value = entry.get(name)
    if isinstance(value, str) and value:
        return value
    raise DataError(f"{place} of {path} has no {name}, but {value!r:.60}.", _form())


def _form() -> str:
    return (
        'the form is {"images": [{"id", "file_name"}], "annotations": [{"image_id", '
        '"category_id"}], "categories": [{"id", "name"}]}'
    )
