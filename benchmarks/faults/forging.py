"""Caches that are not what ltkd writes: forged trailers, and files of format 1 by h5py alone."""

import json
import os

import h5py
import numpy as np

from ltkd_cli.cache import Cache, trailer
from ltkd_cli.cache.attributes import encode
from ltkd_cli.cache.layout import Layout
from ltkd_cli.cache.pack import checksums
from ltkd_cli.errors import CacheError
from ltkd_cli.records import Invalid


def read_trailer(path):
    """Where the HDF5 part ends, and what the text behind it says."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        found = trailer.read(descriptor)
    finally:
        os.close(descriptor)
    return found.end, json.loads(found.text)


def forge(path, change):
    """Lets `change` edit what the trailer says, or return bytes for it, and seals it anew."""
    end, text = read_trailer(path)
    changed = change(text)
    with path.open("r+b") as file:
        file.truncate(end)
    written = changed if isinstance(changed, bytes) else json.dumps(text).encode()
    descriptor = os.open(path, os.O_RDWR)
    try:
        trailer.append(descriptor, end, written)
        trailer.seal(descriptor)
    except Invalid:  # what no reader takes for a trailer either
        footer = trailer.FOOTER.pack(trailer.MAGIC, len(written), b"", b"x")
        os.pwrite(descriptor, written + footer, end)
    finally:
        os.close(descriptor)
    return path


def forge_attributes(path, *without, **changed):
    """Seals a cache anew with other attributes, and without some."""

    def change(text):
        text["attributes"] |= changed
        for name in without:
            del text["attributes"][name]

    return forge(path, change)


def opened(path):
    """The cache, or the error that opening it ends in."""
    try:
        return Cache.open(path)
    except CacheError as error:
        return error


def format_1(path, write=None, **changed):
    """Rewrites a cache as format 1; `write(file, name, values)` may make a dataset otherwise."""
    cache = Cache.open(path)
    held = cache.layout
    old = Layout(held.rows, held.classes, held.width, held.first, held.labels, held.dtype, format=1)
    stored = {name: cache.tensor(name).numpy() for name in held.stored()}
    arrays = {
        **stored,
        "first": held.first,
        "labels": held.labels,
        "crc": checksums(old, stored, np.arange(held.entries)),
        "done": np.ones(held.entries, np.uint8),
    }
    attributes = {name: value for name, value in cache.attributes.items() if name != "ltkd"}
    other = path.with_name("format1.h5")
    with h5py.File(other, "w") as file:
        for name, values in arrays.items():
            (write or plainly)(file, name, values)
        for name, value in encode({**attributes, "format": 1, "complete": True}).items():
            file.attrs[name] = value
        for name, value in changed.items():
            file.attrs[name] = value
    return other


def plainly(file, name, values):
    file.create_dataset(name, data=values)
