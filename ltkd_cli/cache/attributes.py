"""The cache's attributes: Python values as plain HDF5 ones, and back."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from .. import __version__

PLAIN = (bool, int, float, str)
"""Types that HDF5 has of its own; every other value is stored as JSON text."""

CHECKSUM = "attributes_crc"
"""Attribute with the checksum of all others but `complete`."""

LARGEST = 2**63
"""Whole numbers beyond this, too, are stored as JSON text."""

LIBRARIES = ("torch", "torchvision", "h5py")
"""Packages whose versions a cache names, beside ltkd's own."""


def encode(attributes: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Attributes as plain values; `json` lists the names of those that became JSON text."""
    nested = sorted(name for name, value in attributes.items() if not _is_plain(value))
    texts = {name: json_text(attributes[name]) for name in nested}
    return {**attributes, **texts, "json": json_text(nested)}


def decode(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `encode`; tuples come back as lists. ValueError where JSON is broken."""
    nested = set(json.loads(plain.get("json", "[]")))
    return {
        name: json.loads(value) if name in nested else value
        for name, value in plain.items()
        if name != "json"
    }


def checksum(plain: Mapping[str, Any]) -> int:
    """CRC-32 of plain attributes, which stays as it is when the file becomes complete."""
    lasting = {name: value for name, value in plain.items() if name not in (CHECKSUM, "complete")}
    text = json.dumps(lasting, sort_keys=True)
    return zlib.crc32(text.encode())


def json_text(value: Any) -> str:
    """JSON on one line, with letters outside ASCII as they are."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def software_versions() -> dict[str, str]:
    """Version of every package that shapes the numbers, by name."""
    return {"ltkd": __version__, **{name: version(name) for name in LIBRARIES}}


def _is_plain(value: Any) -> bool:
    if isinstance(value, int) and not -LARGEST <= value < LARGEST:
        return False
    return isinstance(value, PLAIN)
