"""Hugging Face datasets on disk: what `save_to_disk` of the package `datasets` writes.

A folder with dataset_dict.json and a folder for each split; in each, state.json names the Arrow
files, whose schema says which column holds images (`bytes` and `path`) and which the labels and
their names. Only pyarrow is needed to read them.

Source: https://github.com/huggingface/datasets
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, DataMismatch, look_at, printable
from ..files import expanded
from .contents import stamp
from .decode import Encoded
from .failures import Failure, name_some
from .files import EncodedImages, Listing
from .imageset import DataSpec
from .lists import check_file, read_text
from .parquet import import_pyarrow
from .splits import ONE_LABEL, Splits, set_name, split_of
from .table import Table, check_table, class_names_of, listing_of, unused_classes

PREFIX = "hf:"
"""Before the path of a dataset, where its files do not tell by themselves."""

END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
"""The last bytes of an Arrow stream."""

LABELS = ("label", "labels", "fine_label")
"""The column of the labels where several hold classes, the first that there is."""

SAVING = "save it with DatasetDict({'train': ..., 'test': ...}).save_to_disk(FOLDER)"


@dataclass(frozen=True)
class Shards:
    """The Arrow files of one split, mapped into memory."""

    folder: Path
    images: Any
    """pyarrow.ChunkedArray of structs `bytes`, `path`."""
    table: Table
    """The images by their rows, with the names of their classes."""
    stamps: NDArray[np.int64]
    """Of the file of every row, [N, 4]."""


class ArrowImages(EncodedImages):
    """Images that lie as bytes in Arrow files."""

    def __init__(self, listing: Listing, shards: Shards) -> None:
        """The images whose rows in `shards` are the keys of the listing."""
        self._rows = [int(key) for key in listing.keys]
        super().__init__(listing.keys, shards.stamps[self._rows])
        self._shards = shards

    def name(self, row: int) -> str:
        """Folder of the split, and row."""
        return f"{self._shards.folder}, row {self._rows[row]}"

    def file(self, row: int) -> Encoded:
        """The bytes of the image, in memory."""
        return io.BytesIO(self._bytes(row))

    def check_unchanged(self, row: int) -> None:
        """Raises nothing: the file is held open, and a new one of its name is another file."""

    @property
    def typical_bytes(self) -> int:
        """Mean bytes of an image."""
        return int(self._shards.images.nbytes) // max(len(self._shards.images), 1)

    def _bytes(self, row: int) -> memoryview:
        return memoryview(self._shards.images[self._rows[row]]["bytes"].as_buffer())

    def _paths(self) -> Iterable[str]:
        return (f"{self._shards.folder.absolute()}/{row}" for row in self._rows)

    def _hash(self, row: int) -> bytes | Failure:
        return hashlib.sha256(self._bytes(row)).digest()


def is_dataset(folder: Path) -> bool:
    """Whether a folder is one that `save_to_disk` wrote."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


def find_dataset(spec: DataSpec) -> Splits:
    """The splits of a dataset on disk; its validation split is tested on where it has no test.

    DataError where a file is missing, damaged or odd, DataMismatch where splits disagree.
    """
    folder = expanded(spec.data.removeprefix(PREFIX))
    parts = {split: _shards(folder / name) for split, name in _split_folders(folder).items()}
    train = parts["train"].table
    class_names = class_names_of(train)
    name = set_name(folder.resolve().name)
    listings = {}
    for split, part in parts.items():
        found = listing_of(name, split, str(folder), part.table, class_names, train.path)
        listings[split] = replace(found, opener=partial(ArrowImages, shards=part))
    test = listings.get("test") or listings["val"]
    validation = listings.get("val") if "test" in listings else None
    unused = tuple(unused_classes(train, class_names))
    return Splits(spec, listings["train"], test, validation, unused)


def _split_folders(folder: Path) -> dict[str, str]:
    """The folder of every split, by the name that the split has here."""
    if not folder.is_dir():
        raise DataError(f"There is no dataset folder {folder}.", "--data hf:PATH/TO/THE/FOLDER")
    if (folder / "state.json").is_file():
        raise DataError(
            f"{folder} holds a single split, and images to test on are needed as well.", SAVING
        )
    names = _json(folder / "dataset_dict.json").get("splits")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{folder}/dataset_dict.json does not list its splits.", SAVING)
    if odd := [name for name in names if "/" in name or name.startswith(".")]:
        raise DataError(f"{folder} has splits of odd names: {name_some(odd)}.", SAVING)
    found = {split: name for name in names if (split := split_of(name))}
    if doubled := [name for name in names if found.get(split_of(name) or "", name) != name]:
        raise DataError(
            f"{folder} has two splits for {split_of(doubled[0])}: {name_some(names)}.", SAVING
        )
    if "train" not in found or not ("test" in found or "val" in found):
        raise DataError(
            f"{folder} has the splits {name_some(names)}; train and test (or validation) are "
            "needed.",
            SAVING,
        )
    return found


def _shards(folder: Path) -> Shards:
    """The Arrow files of one split, opened and checked."""
    arrow = import_pyarrow("hf")
    files = _arrow_files(folder)
    tables = [_table(arrow, file) for file in files]
    if any(table.schema != tables[0].schema for table in tables):
        raise DataMismatch(f"The Arrow files of {folder} have different columns.", SAVING)
    stamps = np.repeat([stamp(file.stat()) for file in files], [len(t) for t in tables], axis=0)
    table = arrow.concat_tables(tables)
    if not len(table):
        raise DataError(f"{folder} holds no images.", SAVING)
    images, labels, classes = _columns(folder, table)
    rows = [str(row) for row in range(len(labels))]
    found = Table(folder, rows, labels, classes=classes)
    if classes is None:
        check_table(found)
    return Shards(folder, images, found, stamps.astype(np.int64))


def _arrow_files(folder: Path) -> tuple[Path, ...]:
    entries = _json(folder / "state.json").get("_data_files")
    entries = entries if isinstance(entries, list) else []
    names = [each.get("filename") if isinstance(each, dict) else None for each in entries]
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise DataError(f"{folder}/state.json does not name its Arrow files.", SAVING)
    return tuple(folder / str(name) for name in names)


def _table(arrow: Any, file: Path) -> Any:
    """The table in an Arrow file, mapped; DataError where it is damaged."""
    check_file(file)
    try:
        mapped = arrow.memory_map(str(file))
        mapped.seek(max(0, mapped.size() - len(END_OF_STREAM)))
        if mapped.read() != END_OF_STREAM:
            raise OSError("its end is missing")
        mapped.seek(0)
        table = arrow.ipc.open_stream(mapped).read_all()
        table.validate(full=True)
        table.column_names  # noqa: B018 - raises where they are no UTF-8
    except (OSError, ValueError, arrow.ArrowException) as error:
        raise DataError(
            f"{file} cannot be read as Arrow: {printable(str(error).splitlines()[0])}.",
            look_at(file),
        ) from error
    return table


def _columns(folder: Path, table: Any) -> tuple[Any, list[str], tuple[str, ...] | None]:
    """The column of images, the names of their classes, and the order of the classes if known."""
    features = _features(table)
    images = [name for name, each in features.items() if each.get("_type") == "Image"]
    images = images or [name for name in ("image", "img") if name in table.column_names]
    if len(images) != 1 or images[0] not in table.column_names:
        raise DataError(
            f"{folder} has {len(images)} columns of images; its columns are "
            f"{name_some(table.column_names)}.",
            "leave one of them, by dataset.remove_columns(...), and save it again",
        )
    column = table.column(images[0])
    if not _holds_bytes(column):
        raise DataError(
            f"The images of {folder} are not in its files (column {images[0]}: {column.type}).",
            "save it with the images embedded, as save_to_disk does by default",
        )
    label = _label_column(folder, table, features)
    names = features.get(label, {}).get("names")
    classes = tuple(map(str, names)) if isinstance(names, list) else None
    return column, _labels(folder, label, table.column(label), classes), classes


def _features(table: Any) -> dict[str, dict[str, Any]]:
    """What the schema says of each column beyond its type; nothing where it is odd."""
    try:
        told = json.loads((table.schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: each for name, each in told.items() if isinstance(each, dict)}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _holds_bytes(column: Any) -> bool:
    import pyarrow as arrow
    from pyarrow import compute

    kind = column.type
    if not arrow.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        return False
    stored = compute.struct_field(column, "bytes")
    binary = arrow.types.is_binary(stored.type) or arrow.types.is_large_binary(stored.type)
    return bool(binary and stored.null_count == 0)


def _label_column(folder: Path, table: Any, features: dict[str, dict[str, Any]]) -> str:
    classes = [name for name, each in features.items() if each.get("_type") == "ClassLabel"]
    preferred = [name for name in LABELS if name in (classes or table.column_names)]
    chosen = preferred or (classes if len(classes) == 1 else [])
    if chosen and chosen[0] in table.column_names:
        return chosen[0]
    raise DataError(
        f"{folder} has no column label; its columns are {name_some(table.column_names)}.",
        "dataset.rename_column('...', 'label'), and save it again",
    )


def _labels(folder: Path, column: str, values: Any, classes: tuple[str, ...] | None) -> list[str]:
    """The name of the class of every image; DataError where one has none."""
    import pyarrow as arrow

    kind = values.type
    if arrow.types.is_nested(kind):
        raise DataError(f"The column {column} of {folder} holds {kind}, not one label.", ONE_LABEL)
    text = arrow.types.is_string(kind) or arrow.types.is_large_string(kind)
    if values.null_count or not (text or arrow.types.is_integer(kind)):
        what = "some of it missing" if values.null_count else "neither numbers nor names"
        raise DataError(
            f"The column {column} of {folder} holds {kind}, {what}.",
            f"dataset.class_encode_column('{column}'), and save it again",
        )
    labels: list[Any] = values.to_pylist()
    if text:
        return labels
    low, high = min(labels), max(labels)
    if low < 0 or (classes is not None and high >= len(classes)):
        raise DataError(
            f"The column {column} of {folder} has the label {low if low < 0 else high}, which is "
            "no class.",
            "leave out images without a label, by dataset.filter(...), and save it again",
        )
    if classes is None:
        return [str(label) for label in labels]
    if len(set(classes)) < len(classes):
        raise DataError(f"Two classes of {folder} have the same name.", "rename one of them")
    return [classes[label] for label in labels]


def _json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; DataError where there is none."""
    try:
        value = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}.", SAVING) from error
    if not isinstance(value, dict):
        raise DataError(f"{path} holds no JSON object.", SAVING)
    return value
