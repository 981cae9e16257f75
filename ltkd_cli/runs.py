"""Run folders: everything that came of one command, in `runs/0007-distill-bkd-resnet20/`.

run.json            settings, environment, parents with hashes, status, scores
metrics.jsonl       one line an epoch
model.safetensors   the weights, once training has ended
per_class.csv       scores of every class on the test set
state.pt            training state, only until the run is done
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import Any

from .errors import RunError

KINDS = ("teach", "distill", "rebalance")
FORMAT = 1
SECONDS_OF_A_LOOK = 1.0
"""For how long, and much longer, a process that asks for a run's status may hold its folder."""


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
        """`teach`, `distill` or `rebalance`."""
        return str(self.record["kind"])

    @property
    def method(self) -> str:
        """What trained it, and what rebalanced it then: `ce`, or `ce + crt`."""
        stages = [stage["how"] for stage in self.record.get("rebalanced", [])]
        return " + ".join([self.settings["method"], *stages])

    @property
    def done(self) -> bool:
        return bool(self.record["status"] == "done")

    @property
    def status(self) -> str:
        """`done`, `failed`, `running` in some process, or `interrupted`, also by a kill."""
        recorded = str(self.record["status"])
        if recorded in ("done", "failed"):
            return recorded
        return "running" if self._is_held() else "interrupted"

    def require_done(self) -> None:
        """Raises RunError unless the run is finished."""
        if not self.done:
            raise RunError(
                f"{self.name} is {self.status}, so it has no scores and no weights yet.",
                self.resume_command,
            )

    @property
    def created(self) -> datetime:
        return datetime.fromisoformat(self.record["created"])

    @property
    def resume_command(self) -> str:
        """The command that goes on with the run, from the same folder."""
        return f"ltkd {self.kind} --resume {quote(str(self.path))}"

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

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other processes from training in the folder; RunError where one does.

        The kernel's lock is on the folder itself, so a killed process leaves nothing behind.
        """
        with _folder(self.path) as folder:
            if not _locked_within(folder, SECONDS_OF_A_LOOK):
                raise RunError(f"{self.name} is being trained by another process.", "ltkd runs")
            yield

    def _is_held(self) -> bool:
        with _folder(self.path) as folder:
            try:
                _lock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

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
    root: Path,
    kind: str,
    label: str,
    settings: dict[str, Any],
    name: str | None = None,
    **known: Any,
) -> Run:
    """A new run folder, numbered on from the last or called `name`; run.json holds `known`, too.

    RunError where the name is taken or is no name of a folder, or `root` cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        path = _named_folder(root, name) if name else _numbered_folder(root, f"{kind}-{label}")
    except OSError as error:
        raise _cannot_be_made(root, error) from error
    run = Run(path, {})
    try:
        run.update(
            format=FORMAT,
            kind=kind,
            label=label,
            status="started",
            created=_now(),
            command=["ltkd", *sys.argv[1:]],
            settings=settings,
            **known,
        )
    except OSError as error:
        shutil.rmtree(path, ignore_errors=True)  # it would keep the name and hold nothing
        raise _cannot_be_made(root, error) from error
    return run


def _cannot_be_made(root: Path, error: OSError) -> RunError:
    return RunError(
        f"No run folder can be made in {root}: {error.strerror}.",
        f"ls -ld {quote(str(root))}, or choose another folder with --runs",
    )


def check_name(root: Path, name: str) -> None:
    """Raises RunError where the name is taken in `root`, or cannot be the name of a run.

    Numbers and `last` mean other runs, and a name that begins with a dash looks like an option.
    """
    unfit = name.startswith((".", "-")) or name.isdecimal() or name == "last"
    length = len(os.fsencode(name))
    if unfit or not 0 < length < 200 or name != Path(name).name or not name.isprintable():
        raise RunError(f"{name!r} cannot be the name of a run folder.", "--name first-try")
    if name != name.strip():
        raise RunError(f"{name!r} begins or ends with a space.", f"--name {quote(name.strip())}")
    if (root / name).exists():
        raise RunError(
            f"There is {root / name} already, and runs are never overwritten.",
            "ltkd runs; then choose another --name, or none for the next number",
        )


def read(path: Path) -> Run:
    """The run in a folder; RunError where there is none or its run.json cannot be read."""
    try:
        record = json.loads((path / "run.json").read_text())
    except FileNotFoundError:
        raise RunError(f"{path} is not a run folder: it has no run.json.", "ltkd runs") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{path / 'run.json'} cannot be read: {error}.", _aside(path)) from error
    if not isinstance(record, dict) or not isinstance(record.get("format"), int):
        raise RunError(f"{path / 'run.json'} does not describe a run.", _aside(path))
    if record["format"] != FORMAT:
        raise RunError(
            f"{path} has run format {record['format']}; this ltkd reads {FORMAT}.",
            "pip install --upgrade ltkd",
        )
    return Run(path, record)


def all_runs(root: Path) -> list[Run]:
    """Every run below `root` that can be read, oldest first."""
    return survey(root)[0]


def survey(root: Path) -> tuple[list[Run], list[RunError]]:
    """The runs below `root`, oldest first; what is wrong with a run.json that is of no run."""
    found, broken = [], []
    for file in sorted(root.glob("*/run.json")):
        try:
            found.append(read(file.parent))
        except RunError as error:
            broken.append(error)
    return sorted(found, key=lambda run: (run.created, run.name)), broken


def find(root: Path, which: str) -> Run:
    """The run called by number, folder name, path or path of its weights; RunError otherwise."""
    as_path = Path(which)
    folder = as_path.parent if as_path.name == "model.safetensors" else as_path
    numbered = root.glob(f"{int(which):04d}-*") if which.isdecimal() else []
    for candidate in (root / which, folder, *numbered):
        if (candidate / "run.json").exists():
            return read(candidate)
    raise RunError(f"There is no run {which!r} in {root}.", "ltkd runs")


def newest(root: Path, kind: str | None = None, *, done: bool = True) -> Run:
    """The newest finished (or, with `done=False`, interrupted) run of a kind; RunError if none."""
    wanted = "done" if done else "interrupted"
    found = [run for run in all_runs(root) if kind in (None, run.kind) and run.status == wanted]
    if found:
        return found[-1]
    if not done:
        raise RunError(f"There is no interrupted run in {root}.", "ltkd runs")
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


def _aside(path: Path) -> str:
    """The command that takes a folder which is no run out of sight, one level up."""
    return f"mv {quote(str(path))} {quote(f'broken-{path.name}')}"


def _numbered_folder(root: Path, label: str) -> Path:
    slug = re.sub(r"[^A-Za-z0-9_.+-]+", "-", label)
    with _folder(root) as opened:
        _lock(opened, fcntl.LOCK_EX)  # so that no two processes take one number
        path = root / f"{_next_number(root):04d}-{slug}"
        path.mkdir()
    return path


def _next_number(root: Path) -> int:
    matches = (re.match(r"(\d{4,})-", path.name) for path in root.iterdir())
    return max((int(match[1]) for match in matches if match), default=0) + 1


def _named_folder(root: Path, name: str) -> Path:
    check_name(root, name)
    path = root / name
    path.mkdir()
    return path


@contextmanager
def _folder(path: Path) -> Iterator[int]:
    number = os.open(path, os.O_RDONLY)
    try:
        yield number
    finally:
        os.close(number)


def _lock(folder: int, kind: int) -> None:
    """Locks an open folder; with LOCK_NB, BlockingIOError where another process holds it."""
    try:
        fcntl.flock(folder, kind)
    except BlockingIOError:
        raise
    except OSError:
        pass  # a file system without such locks


def _locked_within(folder: int, seconds: float) -> bool:
    """Whether an open folder could be locked for this process alone in that time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(seconds / 50)
        else:
            return True


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")
