"""Reads a complete cache: opened and checked once, then plain memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import CacheError, CacheMismatch
from ..outputs import Outputs
from . import container, match
from .container import Container
from .lock import holder_of
from .pack import damaged
from .writer import lock_of, partial_of

BLOCK = 64 * 2**20
"""Bytes that are copied at once on the way to a device."""


class NoSuchEntry(CacheError, IndexError):
    """A row or a view that the cache does not hold."""


class Cache:
    """The outputs of a teacher for every view of all N rows, mapped from one file.

    Pickling, and so sending to another process, carries the path only.
    """

    def __init__(self, found: Container) -> None:
        self.path = found.path
        self.attributes = found.attributes
        self.layout = found.layout
        self._container = found

    @classmethod
    def open(cls, path: Path) -> Cache:
        """The complete cache at `path`; reads no entries.

        Raises CacheError where there is none or it is unfinished, CacheMismatch for a newer
        format and CacheDamaged for a file that is cut short or malformed.
        """
        path = Path(path)
        if path.name.endswith(".partial"):
            raise _unfinished(path.with_name(path.name.removesuffix(".partial")))
        if not path.exists():
            raise _unfinished(path) if partial_of(path).exists() else _absent(path)
        found = container.read(path)
        if found.attributes["complete"] is not True:
            raise _unfinished(path)
        return cls(found)

    def __reduce__(self) -> tuple[Callable[[Path], Cache], tuple[Path]]:
        return Cache.open, (self.path,)

    @property
    def labels(self) -> Tensor:
        """Label of every row, int64 [N]."""
        return torch.from_numpy(self.layout.labels.astype(np.int64))

    @property
    def class_counts(self) -> list[int]:
        """Training images of each class."""
        return cast(list[int], self.attributes["class_counts"])

    @property
    def scores(self) -> dict[str, Any]:
        """The teacher's test scores by group; empty where none were recorded."""
        return cast(dict[str, Any], self.attributes.get("teacher_scores", {}))

    def require(self, names: frozenset[str]) -> None:
        """Raises CacheMismatch where the cache does not hold all of `names`."""
        if lacking := sorted(names - self.layout.names):
            run = self.attributes.get("teacher_run", "RUN")
            raise CacheMismatch(
                f"{self.path} holds no {' and no '.join(lacking)}.",
                f"ltkd export-logits {quote(run)} --features --output with-features.h5",
            )

    def views_of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """First entry, and number of views, of each of the rows [B]; both int64 [B]."""
        first, number = self._views_of(rows.numpy())
        return torch.from_numpy(first), torch.from_numpy(number)

    def read(self, rows: Tensor, views: Tensor, names: frozenset[str]) -> Outputs:
        """What the teacher said about the given views [B] of the given rows [B]; float32.

        Raises NoSuchEntry for a view that is not stored, CacheMismatch for a name that is not.
        """
        self.require(names)
        entries = self._entries(rows.numpy(), views.numpy())
        return {name: self._values(name, entries) for name in sorted(names)}

    def tensor(self, name: str, device: torch.device | str = "cpu") -> Tensor:
        """A whole dataset, as it is stored, on a device; copied in blocks.

        With uint8 logits, `logits_scale` and `logits_offset` are datasets, too.
        """
        if name not in self._container.arrays:
            self.require(frozenset({name}))
        stored = self._container.arrays[name]
        sample = torch.from_numpy(stored[:1].copy())
        whole = torch.empty(stored.shape, dtype=sample.dtype, device=device)
        step = max(1, BLOCK * len(stored) // max(stored.nbytes, 1))
        for start in range(0, len(stored), step):
            block = torch.from_numpy(stored[start : start + step].copy())
            whole[start : start + step].copy_(block)
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
        if words := match.of_class_names(self.attributes["class_names"], class_names):
            raise self._made_for_another(f" {words}.")
        given = {
            "fingerprint": fingerprint,
            "class_counts": list(class_counts),
            "image_set": image_set,
            "data_spec": dict(data_spec),
        }
        different = match.of_image_sets(
            self.attributes, given, self.layout.labels, labels.numpy(force=True)
        )
        if different:
            raise self._made_for_another(match.lines(different, "cache", "image set"))

    def check_view_version(self, version: int) -> None:
        """Raises CacheMismatch where views were made by another version of the view function."""
        stored = self.attributes.get("view_version")
        if stored != version:
            raise CacheMismatch(
                f"{self.path} speaks of views of version {stored}, and this ltkd makes version"
                f" {version}: other pixels under the same number.",
                f"ltkd export-logits --output {quote(str(self.path))} --force",
            )

    def verify(self) -> None:
        """Reads every byte; CacheDamaged where one is not what was written."""
        self._verify_bookkeeping()
        bad = damaged(self._container.stored, self._container.arrays["crc"])
        if len(bad):
            row, view = self.layout.row_and_view(int(bad[0]))
            raise container.damage(
                self.path,
                f"{len(bad):,} of {self.layout.entries:,} entries are not what was written,"
                f" the first for row {row}, view {view}",
            )

    def _verify_bookkeeping(self) -> None:
        undone = np.flatnonzero(self._container.arrays["done"] != 1)
        if len(undone):
            row, view = self.layout.row_and_view(int(undone[0]))
            raise container.damage(
                self.path,
                f"{len(undone):,} entries do not exist, the first for row {row}, view {view}",
            )
        if fault := self.layout.fault():
            raise container.damage(self.path, fault)
        counts = np.bincount(self.layout.labels, minlength=self.layout.classes)
        if counts.tolist() != self.class_counts:
            raise container.damage(self.path, "`class_counts` does not count its labels")

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

    def _values(self, name: str, entries: NDArray[np.int64]) -> Tensor:
        arrays = self._container.arrays
        values = torch.from_numpy(arrays[name][entries]).float()
        if name == "logits" and self.layout.dtype == "uint8":
            scale = torch.from_numpy(arrays["logits_scale"][entries])
            offset = torch.from_numpy(arrays["logits_offset"][entries])
            values.mul_(scale[:, None]).add_(offset[:, None])
        return values

    def _no_such(self, what: str) -> NoSuchEntry:
        return NoSuchEntry(f"{self.path} holds no {what}.", "ltkd export-logits")

    def _made_for_another(self, words: str) -> CacheMismatch:
        return CacheMismatch(
            f"{self.path} was made for another image set:{words}",
            "leave out --data and the like, for the images that the cache knows; or export these",
        )


def _absent(path: Path) -> CacheError:
    return CacheError(
        f"There is no cache {path}.", f"ltkd export-logits --output {quote(str(path))}"
    )


def _unfinished(path: Path) -> CacheError:
    holder = holder_of(lock_of(path))
    by = f"; {holder} is writing it" if holder else ""
    return CacheError(f"The export of {path} is unfinished{by}.", _export_again(path))


def _export_again(path: Path) -> str:
    """The command that goes on with an unfinished cache, as far as the cache itself knows."""
    try:
        begun = container.read(partial_of(path))
        run = begun.attributes["teacher_run"]
    except (CacheError, KeyError, OSError):
        return f"ltkd export-logits --output {quote(str(path))}"
    views = int(np.diff(begun.layout.first).max())
    return f"ltkd export-logits {quote(run)} --views {views} --output {quote(str(path))}"
