"""Manifests: CSV or TSV with a header `path,label[,split]`, one image a row."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import DataError
from .failures import name_some
from .lists import read_text
from .table import Table

COLUMNS = {
    "path": ("path", "file", "filename", "file_name", "filepath", "image", "image_path", "fpath"),
    "label": ("label", "class", "class_name", "category", "target"),
    "split": ("split", "set", "subset", "partition"),
}
"""How headers call the columns, the first name first; in capitals or not."""

DELIMITERS = {".csv": ",;", ".tsv": "\t"}
"""What may part the fields, by the ending of the file: the one that the header has most of."""


def read_manifest(path: Path) -> Table:
    """The table of a CSV or TSV file in UTF-8; DataError that names the line where one is odd."""
    text = read_text(path)
    header = text.split("\n", 1)[0]
    delimiter = max(DELIMITERS[path.suffix.lower()], key=header.count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise DataError(
            f"{path} cannot be read as a table: {error}.", "write it with a CSV library"
        ) from error
    if not rows:
        raise DataError(f"{path} is empty.", "its first line is: path,label,split")
    names, body = rows[0][1], rows[1:]
    columns = columns_of(path, names)
    for line, row in body:
        if len(row) != len(names):
            raise DataError(
                f"{path}:{line} has {len(row)} fields, and its header has {len(names)}.",
                "put fields that hold the delimiter into double quotes",
            )
    values = {name: [row[place].strip() for _, row in body] for name, place in columns.items()}
    lines = [line for line, _ in body]
    return Table(path, values["path"], values["label"], values.get("split"), lines=lines)


def columns_of(path: Path, names: Sequence[str]) -> Mapping[str, int]:
    """Where path, label and split stand; DataError where path or label are missing or twice."""
    plain = [name.strip().lower() for name in names]
    found = {}
    for column, aliases in COLUMNS.items():
        known = [alias for alias in aliases if alias in plain]
        if known and plain.count(known[0]) > 1:
            raise DataError(f"{path} has two columns {known[0]}.", f"rename one of them in {path}")
        if known:
            found[column] = plain.index(known[0])
    for column in ("path", "label"):
        if column not in found:
            raise DataError(
                f"{path} has no column {column}; its columns are {name_some(list(names))}.",
                "its first line is: path,label or path,label,split",
            )
    return found
