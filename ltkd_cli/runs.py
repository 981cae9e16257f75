"""Run folders: everything that came of one command, in `runs/0007-distill-bkd-resnet20/`.

run.json            settings, environment, parents with hashes, status, scores
metrics.jsonl       one line an epoch
model.safetensors   the weights, once training has ended
per_class.csv       scores of every class on the test set
state.pt            training state, only until the run is done
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from .errors import RunError

KINDS = ("teach", "distill")
FORMAT = 1


@dataclasses.dataclass
class Run:
    """One run folder and the record in its run.json."""

    path: Path
    record: dict[str, Any]

    @property
    def name(self) -> str:
        """Folder name, such as `0007-distill-bkd-resnet20`."""
        return self.path.name

    @property
    def kind(self) -> str:
        """`teach` or `distill`."""
        return str(self.record["kind"])

    @property
    def done(self) -> bool:
        return bool(self.record["status"] == "done")

    @property
    def settings(self) -> dict[str, Any]:
        """All resolved settings of the run, JSON-able."""
        settings: dict[str, Any] = self.record["settings"]
        return settings

    @property
    def weights(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def state(self) -> Path:
        return self.path / "state.pt"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def per_class(self) -> Path:
        return self.path / "per_class.csv"

    def update(self, **fields: Any) -> None:
        """Changes fields of run.json, atomically."""
        self.record.update(fields)
        write_atomically(self.path / "run.json", json.dumps(self.record, indent=2) + "\n")

    def log(self, record: dict[str, Any]) -> None:
        """Appends one line to metrics.jsonl."""
        with self.metrics.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def keep_metrics_to(self, epoch: int) -> None:
        """Drops the lines after `epoch`, which a resumed run will write again."""
        kept = [record for record in self.read_metrics() if record["epoch"] <= epoch]
        write_atomically(self.metrics, "".join(json.dumps(record) + "\n" for record in kept))

    def read_metrics(self) -> list[dict[str, Any]]:
        """Every whole line of metrics.jsonl."""
        if not self.metrics.exists():
            return []
        lines = self.metrics.read_text().split("\n")[:-1]  # a line cut off by a kill has no end
        return [json.loads(line) for line in lines]


def create(
    root: Path, kind: str, label: str, settings: dict[str, Any], name: str | None = None
) -> Run:
    """A new run folder, numbered on from the last or called `name`; RunError if that is taken."""
    root.mkdir(parents=True, exist_ok=True)
    path = _named_folder(root, name) if name else _numbered_folder(root, f"{kind}-{label}")
    run = Run(path, {})
    run.update(
        format=FORMAT,
        kind=kind,
        label=label,
        status="started",
        created=_now(),
        command=["ltkd", *sys.argv[1:]],
        settings=settings,
    )
    return run


def read(path: Path) -> Run:
    """The run in a folder; RunError where there is none or its run.json cannot be read."""
    try:
        record = json.loads((path / "run.json").read_text())
    except FileNotFoundError:
        raise RunError(f"{path} is not a run folder: it has no run.json.", "ltkd runs") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{path / 'run.json'} cannot be read: {error}.", "ltkd runs") from error
    if record.get("format") != FORMAT:
        raise RunError(
            f"{path} has run format {record.get('format')}; this ltkd reads {FORMAT}.",
            "pip install --upgrade ltkd",
        )
    return Run(path, record)


def all_runs(root: Path) -> Iterator[Run]:
    """Every run below `root`, oldest first."""
    found = [read(file.parent) for file in root.glob("*/run.json")]
    yield from sorted(found, key=lambda run: (run.record["created"], run.name))


def find(root: Path, which: str) -> Run:
    """The run called by number, folder name, path or path of its weights; RunError otherwise."""
    as_path = Path(which)
    for candidate in (as_path, as_path.parent, root / which):
        if (candidate / "run.json").exists():
            return read(candidate)
    if which.isdigit():
        for path in root.glob(f"{int(which):04d}-*"):
            return read(path)
    raise RunError(f"There is no run {which!r} in {root}.", "ltkd runs")


def newest(root: Path, kind: str | None = None, *, done: bool = True) -> Run:
    """The newest finished (or, with `done=False`, unfinished) run of a kind; RunError if none."""
    found = [run for run in all_runs(root) if kind in (None, run.kind) and run.done is done]
    if found:
        return found[-1]
    if not done:
        raise RunError(f"There is no unfinished run in {root}.", f"ltkd {kind or 'teach'}")
    what = f"finished {kind} run" if kind else "finished run"
    hint = "ltkd distill --method bkd" if kind == "distill" else "ltkd teach"
    raise RunError(f"There is no {what} in {root} yet.", hint)


def write_atomically(path: Path, text: str) -> None:
    """Writes a text file so that a kill at any moment leaves the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _numbered_folder(root: Path, label: str) -> Path:
    slug = re.sub(r"[^A-Za-z0-9_.+-]+", "-", label)
    while True:
        number = _next_number(root)
        claim = root / f".{number:04d}"  # keeps two processes from taking one number
        try:
            claim.touch(exist_ok=False)
        except FileExistsError:
            time.sleep(0.01)
            continue
        try:
            if _next_number(root) == number:
                path = root / f"{number:04d}-{slug}"
                path.mkdir()
                return path
        finally:
            claim.unlink()


def _next_number(root: Path) -> int:
    numbers = [int(p.name[:4]) for p in root.iterdir() if re.match(r"\d{4}-", p.name)]
    return max(numbers, default=0) + 1


def _named_folder(root: Path, name: str) -> Path:
    path = root / name
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        raise RunError(
            f"There is a run {name!r} in {root} already, and runs are never overwritten.",
            f"ltkd runs, or choose another --name than {name}",
        ) from None
    return path


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")
