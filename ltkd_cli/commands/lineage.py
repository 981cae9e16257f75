"""Where a run comes from: its teachers and theirs, and how it is repeated. Loads no PyTorch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import runs
from ..errors import Command, RunError, command
from ..runs import Run


@dataclass(frozen=True)
class Ancestor:
    """A run, a cache, or a file of outputs or of weights that others come from."""

    kind: str
    """`run`, `cache`, `outputs` or `weights`."""
    name: str
    path: str | None
    """Where it was found, or was when it was used; None where that is not known."""
    there: bool
    """Whether it lies at `path` now; a run: with the weights that were used."""
    what: str
    """Method and network of a run; views of a cache."""
    sha256: str
    """Of a run's weights, a cache's checksums, or a file; empty where it is not known."""
    ancestors: tuple[Ancestor, ...] = ()


@dataclass(frozen=True)
class Details:
    """All about one run."""

    run: Run
    ancestors: tuple[Ancestor, ...]
    files: dict[str, int]
    """Names of the files in its folder -> bytes."""
    repeat: Command | None
    """The command that makes the run again; None where the run has no config.toml."""


def describe(root: Path, run: Run) -> Details:
    """All about a run; its teachers' runs are looked for beside their caches and in `root`."""
    again = command(run.kind, "--config", run.config) if os.path.lexists(run.config) else None
    ancestors = tuple(_ancestors(root, run, frozenset({run.identity})))
    found = (path for path in sorted(run.path.iterdir()) if path.is_file())
    files = {path.name: path.stat().st_size for path in found if not path.name.startswith(".")}
    return Details(run, ancestors, files, again)


def _ancestors(root: Path, run: Run, seen: frozenset[str]) -> Iterator[Ancestor]:
    """Those that a run names; after a run that it was made from, that one's are not repeated."""
    parents = run.record.get("parents", [])
    made_from = [parent for parent in parents if parent["kind"] == "run"]
    for parent in made_from[:1] or parents:
        if parent["kind"] == "run":
            places = (Path(parent["path"]), root / parent["name"])
            yield _run(root, parent["name"], parent["weights_sha256"], places, seen)
        else:
            yield _cache(root, parent, seen)


def _cache(root: Path, parent: dict[str, Any], seen: frozenset[str]) -> Ancestor:
    path = Path(parent["path"])
    policy = parent.get("view_policy") or "unknown policy"
    return Ancestor(
        kind="cache",
        name=path.name,
        path=str(path),
        there=os.path.lexists(path),
        what=f"{parent['views_per_image']} views of each image, {policy}",
        sha256=parent["crc_sha256"],
        ancestors=tuple(_teachers(root, parent, path.parent, seen)),
    )


def _teachers(
    root: Path, parent: dict[str, Any], folder: Path, seen: frozenset[str]
) -> Iterator[Ancestor]:
    """The runs behind a cache, or the files that its outputs or its teacher's weights came in."""
    if weights := parent.get("teacher_weights"):
        what, sha256 = str(parent.get("teacher_model", "")), str(weights["sha256"])
        yield Ancestor("weights", str(weights["source"]), None, False, what, sha256)
        return
    if outputs := parent.get("teacher_outputs"):
        for what, sha256 in outputs.items():
            yield Ancestor("outputs", what, None, there=False, what="", sha256=str(sha256))
        return
    several = parent.get("teacher_runs") or {parent.get("teacher_run"): parent["teacher_sha256"]}
    for name, sha256 in several.items():
        places = (folder, folder.parent / str(name), root / str(name), Path(str(name)))
        yield _run(root, str(name), str(sha256), places, seen)


def _run(
    root: Path, name: str, sha256: str, places: tuple[Path, ...], seen: frozenset[str]
) -> Ancestor:
    """The first run at one of these places that has these weights."""
    for place in places:
        try:
            found = runs.read(place)
        except RunError:
            continue
        if found.record.get("weights_sha256") == sha256 and found.identity not in seen:
            what = f"{found.method} {found.settings.get('model', '')}"
            theirs = tuple(_ancestors(root, found, seen | {found.identity}))
            return Ancestor("run", found.name, str(place), True, what, sha256, theirs)
    return Ancestor("run", name, None, there=False, what="", sha256=sha256)
