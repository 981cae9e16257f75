"""Finding run folders by number, name, path or age."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from shlex import quote

from ..errors import RunError, command
from .folder import RECORD, WEIGHTS, Run, read


def all_runs(root: Path) -> list[Run]:
    """Every run below `root` that can be read, in the order in which they began."""
    return survey(root)[0]


def survey(root: Path) -> tuple[list[Run], dict[str, RunError]]:
    """The runs below `root`, in the order in which they began; by folder, why others are unread.

    The order is the `sequence` in run.json, one more than that of any run before, so that a
    clock that went wrong once spoils nothing. Runs of version 0.1 have none: they come first,
    by their dates, of which those in the future are not believed and count as oldest.
    """
    found, odd = [], {}
    for folder in _folders(root):
        try:
            found.append(read(folder))
        except RunError as error:
            odd[folder.name] = error
    return sorted(found, key=_place), odd


def find(root: Path, which: str) -> Run:
    """The run called by number, folder name, path or path of its weights; RunError otherwise.

    A number that several folders bear calls none of them.
    """
    as_path = Path(which)
    if as_path.name in ("", ".."):  # `.` has a name, too
        as_path = as_path.resolve()
    folder = as_path.parent if as_path.name == WEIGHTS else as_path
    for candidate in (root / which, folder):
        if os.path.lexists(candidate / RECORD):
            return read(candidate)
    numbered = root.glob(f"{int(which):04d}-[!0-9]*") if _is_number(which) else []
    bearers = sorted(each for each in numbered if os.path.lexists(each / RECORD))
    if len(bearers) > 1:
        raise RunError(
            f"{len(bearers)} runs in {root} have the number {int(which)}.",
            " or ".join(quote(each.name) for each in bearers),
        )
    if bearers:
        return read(bearers[0])
    raise RunError(f"There is no run {which!r} in {root}.", command("runs", *_elsewhere(root)))


def newest(root: Path, kind: str | None = None, *, done: bool = True) -> Run:
    """The run of a kind that began last and is finished (with `done=False`, interrupted).

    "Last" is as `survey` has it. RunError where there is none.
    """
    wanted = "done" if done else "interrupted"
    for run in reversed(all_runs(root)):
        if kind in (None, run.kind) and run.status == wanted:
            return run
    if not done:
        raise RunError(
            f"There is no interrupted run in {root}.", command("runs", *_elsewhere(root))
        )
    what = f"finished {kind} run" if kind else "finished run"
    hint = command("distill", "--method", "bkd") if kind == "distill" else command("teach")
    raise RunError(f"There is no {what} in {root} yet.", hint)


def _folders(root: Path) -> list[Path]:
    """Folders in `root` that hold a run.json, or what is called so; none where there is no root."""
    try:
        paths = sorted(root.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(
            f"{root} cannot be read as a folder of runs: {error.strerror}.",
            "--runs with a folder",
        ) from error
    return [path for path in paths if path.name[0] != "." and os.path.lexists(path / RECORD)]


def _place(run: Run) -> tuple[int, bool, datetime, str]:
    return run.record.get("sequence", 0), not run.misdated, run.created, run.name


def _is_number(which: str) -> bool:
    return which.isdecimal() and len(which) <= 15


def _elsewhere(root: Path) -> tuple[str, ...]:
    """What `ltkd runs` must be told where `root` is not the folder that it lists by default."""
    return () if root == Path("runs") else (str(root),)
