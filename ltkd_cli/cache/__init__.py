"""The teacher's outputs on disk: one HDF5 file, written once, read by every student.

docs/cache.md is the specification of the file, and `layout` lists its datasets.
"""

from .layout import FORMAT, Layout
from .reader import Cache, NoSuchEntry
from .writer import CacheWriter

__all__ = ["FORMAT", "Cache", "CacheWriter", "Layout", "NoSuchEntry"]
