"""A program: prints what HDF5 finds in a file, as JSON. Usage: probe.py FILE DATASET...

Format 1 has no checksum of HDF5's own structures, and a flipped bit there can crash the library
or keep it busy for ever; so it is asked in a process of its own. This file imports nothing of
the package, which would bring PyTorch with it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import h5py


def described(path: str, names: list[str]) -> dict[str, Any]:
    """Attributes of the root group and the places of those of the datasets that exist."""
    with h5py.File(path, "r", locking=False) as file:
        attributes = {name: _plain(name, value) for name, value in file.attrs.items()}
        datasets = {name: _place(file, name) for name in names if name in file}
    return {"attributes": attributes, "datasets": datasets}


def _plain(name: str, value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    if not isinstance(value, bool | int | float | str):
        raise TypeError(f"attribute {name!a} is neither a text nor a number")
    return value


def _place(file: h5py.File, name: str) -> dict[str, Any] | None:
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        return None
    dataset = file[name]
    # HDF5 gives an offset only to what is contiguous, allocated and in this file.
    offset = dataset.id.get_offset() if isinstance(dataset, h5py.Dataset) else None
    if offset is None or dataset.shape is None:
        return None
    return {"type": dataset.dtype.str, "shape": dataset.shape, "offset": offset}


def main() -> None:
    """Prints the description, or what stands in its way."""
    try:
        found = described(sys.argv[1], sys.argv[2:])
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}"[:300]}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
