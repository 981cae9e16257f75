"""Reads a complete cache: opened and checked once, then plain memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import CacheDamaged, CacheError, CacheMismatch, Hint, command
from ..files import named_in
from ..outputs import Outputs
from . import container
from .again import export_again, export_unread
from .container import Container
from .difference import differences, lines
from .pack import damaged, unpack
from .target import lock_of, partial_of

BLOCK = 64 * 2**20
"""Bytes that are copied at once on the way to a device."""

WHERE_AND_HOW = frozenset({"root", "test_list", "download", "store", "groups"})
"""Fields of a data set's description that do not choose the training images."""


class NoSuchEntry(CacheError, IndexError):
    """A row or a view that the cache does not hold."""


class Cache:
    """The outputs of a teacher for every view of all N rows, mapped from one file.

    Every entry is checked against its CRC when it is first read. Pickling, and so sending to
    another process, carries the path only.
    """

    def __init__(self, found: Container) -> None:
        self.path = found.path
        self.attributes = found.attributes
        self.layout = found.layout
        self._container = found
        self._arrays = found.arrays
        self._checked = np.zeros((len(found.layout.parts), found.layout.entries), np.bool_)

    @classmethod
    def open(cls, path: Path) -> Cache:
        """The complete cache at `path`; reads no entries.

        Raises CacheError where there is none or it is unfinished, CacheMismatch for a newer
        format and CacheDamaged for a file that is cut short or malformed, or whose bytes,
        but for the entries, are not what was written.
        """
        path = Path(path)
        if path.name.endswith(".partial"):
            raise _unfinished(path.with_name(path.name.removesuffix(".partial")))
        if not os.path.lexists(path):
            raise _unfinished(path) if os.path.lexists(partial_of(path)) else _absent(path)
        found = container.read(path)
        if not found.complete:
            raise _unfinished(path)
        cache = cls(found)
        cache._refuse_missing()
        return cache

    def __reduce__(self) -> tuple[Callable[[Path], Cache], tuple[Path]]:
        return Cache.open, (self.path,)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on what this file cannot promise."""
        if self._container.format > 1:
            return ()
        return (
            f"{self.path} has format 1, which has no checksum of its labels and of the order of "
            "its entries: damage there would go unnoticed. Export it again to be sure.",
        )

    def require(self, names: frozenset[str]) -> None:
        """Raises CacheMismatch where the cache does not hold all of `names`."""
        if lacking := sorted(names - self.layout.names):
            raise CacheMismatch(
                f"{self.path} holds no {' and no '.join(lacking)}.",
                export_again(
                    self.path.with_name("with-features.h5"),
                    self.attributes,
                    self.layout,
                    features=True,
                ),
            )

    def views_of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """First entry, and number of views, of each of the rows [B]; both int64 [B]."""
        first, number = self._views_of(rows.numpy())
        return torch.from_numpy(first), torch.from_numpy(number)

    def read(self, rows: Tensor, views: Tensor, names: frozenset[str]) -> Outputs:
        """The teacher's outputs for the given views [B] of the given rows [B]; float32.

        Raises NoSuchEntry for a view that is not stored, CacheMismatch for a name that is not
        and CacheDamaged for an entry that is not what was written, or where the file became
        shorter. One that is cut in the very moment of reading kills the process (SIGBUS).
        """
        self.require(names)
        self._refuse_shorter()
        entries = self._entries(rows.numpy(), views.numpy())
        self._check(names, entries)
        stored = {
            name: self._arrays[name][entries]
            for part in self.layout.parts
            for name in part
            if name in names or (name.startswith("logits_") and "logits" in names)
        }
        return {name: unpack(stored, name) for name in sorted(names)}

    def tensor(self, name: str, device: torch.device | str = "cpu") -> Tensor:
        """A whole dataset, as it is stored, on a device; copied, and checked, in blocks.

        With uint8 logits, `logits_scale` and `logits_offset` are datasets, too. Raises
        CacheDamaged for an entry that is not what was written.
        """
        if name not in self._arrays:
            self.require(frozenset({name}))
        self._refuse_shorter()
        stored = self._arrays[name]
        sample = torch.from_numpy(stored[:1].copy())
        whole = torch.empty(stored.shape, dtype=sample.dtype, device=device)
        step = max(1, BLOCK * len(stored) // max(stored.nbytes, 1))
        for start in range(0, len(stored), step):
            block = slice(start, min(start + step, len(stored)))
            self._check(frozenset({name}), np.arange(block.start, block.stop))
            whole[block].copy_(torch.from_numpy(stored[block].copy()))
        return whole

    def check(
        self,
        fingerprint: str,
        class_names: Sequence[str],
        class_counts: Sequence[int],
        labels: Tensor,
        image_set: str,
        data_spec: Mapping[str, Any],
    ) -> None:
        """Raises CacheMismatch where the cache was made for another image set.

        `labels` [N]; `image_set` is its name and `data_spec` says where it comes from, so
        that the error can name the settings that differ.
        """
        given = {
            "fingerprint": fingerprint,
            "class_names": list(class_names),
            "class_counts": list(class_counts),
        }
        stored = {name: self.attributes[name] for name in given}
        stored["labels"] = self.layout.labels.tolist()
        different = differences(stored, {**given, "labels": labels.tolist()})
        if not different:
            return
        named = differences(
            {"image_set": self.attributes.get("image_set"), **_choice(self.attributes)},
            {"image_set": image_set, **_choice({"data_spec": data_spec})},
        )
        raise CacheMismatch(
            f"{self.path} was made for another image set:"
            + lines([*named, *different], "cache", "image set"),
            "leave out --data and the like, for the images that the cache knows; or export these",
        )

    def check_view_version(self, version: int) -> None:
        """Raises CacheMismatch where views were made by another version of the view function."""
        stored = self.attributes.get("view_version")
        if stored != version:
            raise CacheMismatch(
                f"{self.path} speaks of views of version {stored}, and this ltkd makes version"
                f" {version}: other pixels under the same number.",
                self._export_anew(),
            )

    def check_unchanged(self) -> None:
        """Raises CacheDamaged where the file was written to, cut, replaced or removed.

        Two calls of `stat`: cheap enough for every epoch.
        """
        if not self._container.file.is_unchanged():
            raise self._changed()

    def verify(self) -> None:
        """Reads every entry; CacheDamaged where one is not what was written.

        What is no entry was checked when the file was opened.
        """
        self.check_unchanged()
        bad = damaged(self.layout, self._arrays, np.arange(self.layout.entries))
        if len(bad):
            raise self._damage(
                f"{len(bad):,} of {self.layout.entries:,} entries are not what was written,"
                f" the first for {self.layout.place(int(bad[0]))}",
            )

    def _refuse_missing(self) -> None:
        undone = np.flatnonzero(self._arrays["done"] != 1)
        if len(undone):
            raise self._damage(
                f"{len(undone):,} entries do not exist, the first for "
                f"{self.layout.place(int(undone[0]))}",
            )

    def _refuse_shorter(self) -> None:
        if self._container.file.is_shorter():
            raise self._changed()

    def _changed(self) -> CacheDamaged:
        return CacheDamaged(
            f"{self.path} was changed or replaced while it was read.",
            command("cache", "verify", self.path, remark="and then begin again"),
        )

    def _check(self, names: frozenset[str], entries: NDArray[np.int64]) -> None:
        """Compares what was not read before of `names` in the entries [n] with its CRCs."""
        for column, part in enumerate(self.layout.parts):
            fresh = entries[~self._checked[column, entries]]
            if names.isdisjoint(part) or not len(fresh):
                continue
            bad = damaged(self.layout, self._arrays, fresh, names & set(part))
            if len(bad):
                place = self.layout.place(int(bad[0]))
                raise self._damage(f"the entry of {place} is not what was written")
            self._checked[column, fresh] = True

    def _views_of(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        outside = (rows < 0) | (rows >= self.layout.rows)
        if outside.any():
            raise self._no_such(f"row {rows[outside][0]}; it has {self.layout.rows:,} rows")
        first = self.layout.first[rows]
        return first, self.layout.first[rows + 1] - first

    def _entries(self, rows: NDArray[np.int64], views: NDArray[np.int64]) -> NDArray[np.int64]:
        first, number = self._views_of(rows)
        outside = (views < 0) | (views >= number)
        if outside.any():
            b = int(np.flatnonzero(outside)[0])
            raise self._no_such(f"view {views[b]} of row {rows[b]}; it has {number[b]} views of it")
        return first + views

    def _no_such(self, what: str) -> NoSuchEntry:
        return NoSuchEntry(f"{self.path} holds no {what}.", command("export-logits"))

    def _damage(self, what: str) -> CacheDamaged:
        return container.damage(self.path, what, self._export_anew())

    def _export_anew(self) -> Hint:
        return export_again(self.path, self.attributes, self.layout, "--force")


def _choice(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What chose the training images."""
    spec = attributes.get("data_spec", {})
    chosen = {name: value for name, value in spec.items() if value is not None}
    return {
        "data_spec": {name: value for name, value in chosen.items() if name not in WHERE_AND_HOW}
    }


def _absent(path: Path) -> CacheError:
    caches = [each.name for each in path.parent.glob("*.h5")]
    near = get_close_matches(path.name, caches, 1)
    hint: Hint = command("export-logits", "--output", path)
    if near:
        hint = f"{path.with_name(near[0])}, which exists"
    elif (path.parent / "run.json").is_file():
        hint = export_unread(path)
    return CacheError(f"There is no cache {path}.", hint)


def _unfinished(path: Path) -> CacheError:
    holder = named_in(lock_of(path))
    by = f"; {holder} is writing it" if holder and holder.is_alive() else ""
    return CacheError(f"The export of {path} is unfinished{by}.", _export_again(path))


def _export_again(path: Path) -> Hint:
    """The command that goes on with an unfinished cache, or replaces one of the finished name."""
    more = ("--force",) if os.path.lexists(path) else ()
    begun = partial_of(path) if os.path.lexists(partial_of(path)) else path
    try:
        found = container.read(begun, unfinished=True)
    except CacheError:
        return export_unread(path, *more)
    return export_again(path, found.attributes, found.layout, *more)
