"""The teacher's outputs on disk: one HDF5 file, written once, read by every student.

`layout` holds the specification of the file.
"""

from .layout import FORMAT, Layout
from .reader import Cache, NoSuchEntry
from .writer import CacheWriter

__all__ = ["FORMAT", "Cache", "CacheWriter", "Layout", "NoSuchEntry"]
