"""Manifests as Parquet files, with the columns `path`, `label` and perhaps `split`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from ..errors import DataError, UsageError, look_at, printable
from .manifest import columns_of
from .splits import ONE_LABEL
from .table import Table


def import_pyarrow(extra: str) -> Any:
    """The module pyarrow; UsageError that names the extra which brings it along."""
    try:
        return importlib.import_module("pyarrow")
    except ImportError:
        raise UsageError(
            "Parquet and Arrow files are read by pyarrow, which is not installed.",
            f"pip install 'ltkd[{extra}]'",
        ) from None


def read_parquet(path: Path) -> Table:
    """The table of a Parquet file; DataError where it is none, or has other columns."""
    arrow = import_pyarrow("parquet")
    from pyarrow.parquet import ParquetFile

    try:
        with path.open("rb") as file:
            parquet = ParquetFile(file)
            columns = columns_of(path, parquet.schema_arrow.names)
            names = {name: parquet.schema_arrow.names[place] for name, place in columns.items()}
            read = parquet.read(columns=list(names.values()))
            read.validate(full=True)
    except (OSError, ValueError, arrow.ArrowException) as error:
        raise DataError(
            f"{path} cannot be read as Parquet: {printable(str(error).splitlines()[0])}.",
            look_at(path),
        ) from error
    values = {name: _texts(path, column, read.column(column)) for name, column in names.items()}
    return Table(path, values["path"], values["label"], values.get("split"))


def _texts(path: Path, column: str, values: Any) -> list[str]:
    """A column as text; DataError where it holds something else than text and whole numbers."""
    import pyarrow as arrow

    kind = values.type.value_type if arrow.types.is_dictionary(values.type) else values.type
    if arrow.types.is_nested(kind):
        raise DataError(f"The column {column} of {path} holds {kind}, not one label.", ONE_LABEL)
    text = arrow.types.is_string(kind) or arrow.types.is_large_string(kind)
    if not (text or arrow.types.is_integer(kind)):
        raise DataError(
            f"The column {column} of {path} holds {kind}, not text or whole numbers.",
            "write it as text",
        )
    if values.null_count:
        row = next(row for row, value in enumerate(values) if not value.is_valid)
        raise DataError(f"{path}, row {row}, has no {column}.", "fill that row or leave it out")
    return [str(value).strip() for value in values.to_pylist()]
