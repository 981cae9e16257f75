"""One run folder: its record, its files, and who may train in it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, TypedDict, cast

from ..errors import CheckpointError, Command, RunDamaged, RunError, command, printable
from ..files import Locked, folder_locked, read_regular, remove_leftovers, write_atomically
from ..records import Invalid, between, checked, parse_json
from .record import CHECKSUM, FORMAT, Record, check, is_sealed, parse_date, sealed

RECORD = "run.json"
WEIGHTS = "model.safetensors"
CONFIG = "config.toml"

MAX_RECORD = 2**26
"""Bytes of a run.json; one of 100,000 classes has a tenth of it."""

SECONDS_OF_STATUS = 1.0
"""For which a process may hold the folder that only asks whether another one does."""


TOLERANCE = timedelta(minutes=5)
"""By which clocks of machines that share a folder may differ."""


class _Epoch(TypedDict):
    epoch: Annotated[int, between(1, 10**9)]


@dataclasses.dataclass
class Run:
    """One run folder and the record in its run.json."""

    path: Path
    record: Record

    @property
    def name(self) -> str:
        """Folder name, such as `0007-distill-bkd-resnet20`."""
        return self.path.name

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on what this folder cannot promise."""
        unsealed = (
            f"{self.path / RECORD} is of version 0.1, without a checksum: damage to its settings "
            "or scores would go unnoticed."
        )
        return tuple(filter(None, ["" if self.has_checksum else unsealed, self.misdated]))

    @property
    def has_checksum(self) -> bool:
        """Whether damage to its run.json is noticed; not before version 0.2."""
        return self.record["format"] > 1

    @property
    def misdated(self) -> str:
        """A sentence on a date in the future, beyond what clocks may differ by; else empty."""
        if self.created <= datetime.now().astimezone() + TOLERANCE:
            return ""
        return f"{self.name} is dated {self.created.date().isoformat()}, which lies in the future."

    @property
    def kind(self) -> str:
        """`teach`, `distill` or `rebalance`."""
        return self.record["kind"]

    @property
    def method(self) -> str:
        """What trained it, and what rebalanced it then: `ce`, or `ce + crt`."""
        stages = [stage["how"] for stage in self.record.get("rebalanced", [])]
        return " + ".join([self.settings["method"], *stages])

    @property
    def done(self) -> bool:
        return self.record["status"] == "done"

    @property
    def status(self) -> str:
        """`done`, `failed`, `running` in some process, or `interrupted`, also by a kill."""
        recorded = self.record["status"]
        if recorded in ("done", "failed"):
            return recorded
        return "running" if self._is_held() else "interrupted"

    def require_done(self) -> None:
        """Raises RunError unless the run is finished."""
        if not self.done:
            goes_on = command("runs", "show", self.path, remark="to see when it is done")
            raise RunError(
                f"{self.name} is {self.status}, so it has no scores and no weights yet.",
                goes_on if self.status == "running" else self.resume_command,
            )

    @property
    def created(self) -> datetime:
        return parse_date(self.record["created"])

    @property
    def resume_command(self) -> Command:
        """The command that goes on with the run, from the same folder.

        A rebalance writes all at its end and cannot be resumed, so it is begun anew.
        """
        if self.kind == "rebalance":
            return self.anew(remark="for a new run, as nothing needs this one")
        return self.resuming()

    def resuming(self, *more: str, remark: str = "") -> Command:
        """The command that goes on with the training, with such options as `--resume` allows."""
        resume = (self.kind, "--resume", self.path)
        return command(*resume, *more, remark=remark, processes=self.processes)

    def anew(self, *more: str | Path, remark: str = "for a new run") -> Command:
        """The command that trains a run of the same settings, but for `more`, beside this one."""
        config = ("--config", self.config) if self.config.is_file() else ()
        root = self.path.parent
        beside = () if root == Path("runs") else ("--runs", root)
        arguments = (self.kind, *config, *more, *beside)
        return command(*arguments, remark=remark, processes=self.processes)

    @property
    def processes(self) -> int:
        """How many train it together."""
        return int(self.settings.get("processes", 1))

    @property
    def identity(self) -> str:
        """Tells the run from all others, wherever its folder is and whatever it is called."""
        own = [self.record["created"], self.settings]
        return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()

    @property
    def settings(self) -> dict[str, Any]:
        """All resolved settings of the run, JSON-able."""
        return self.record["settings"]

    @property
    def weights(self) -> Path:
        return self.path / WEIGHTS

    @property
    def config(self) -> Path:
        """Its settings, as a file that `--config` takes."""
        return self.path / CONFIG

    def verified_weights(self) -> bytes:
        """The weight file's bytes; CheckpointError where they are not those of this run.

        Their SHA-256 is in run.json. These very bytes can be loaded, whatever happens to the
        file meanwhile.
        """
        hint = self.anew(remark="for a new run, or put the file back")
        try:
            data = read_regular(self.weights)
        except OSError as error:
            raise CheckpointError(
                f"{self.weights} cannot be read: {error.strerror}.", hint
            ) from error
        if hashlib.sha256(data).hexdigest() != self.record["weights_sha256"]:
            raise CheckpointError(
                f"{self.weights} is damaged, or of another run: its SHA-256 is not the one in "
                f"{RECORD}.",
                hint,
            )
        return data

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

        The kernel's lock is on the folder itself, so a killed process leaves nothing behind;
        the files that it was writing are removed here.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(folder_locked(self.path, SECONDS_OF_STATUS))
                remove_leftovers(self.path)
            except Locked:
                raise RunError(
                    f"{self.name} is being trained by another process.", command("runs")
                ) from None
            except OSError as error:
                raise RunError(
                    f"{self.path} cannot be trained in: {error.strerror}.",
                    f"ls -ld {quote(str(self.path))}",
                ) from error
            yield

    def _is_held(self) -> bool:
        with suppress(OSError):  # nobody trains in a folder that cannot even be opened
            try:
                with folder_locked(self.path, shared=True):
                    return False
            except Locked:
                return True
        return False

    def update(self, **fields: Any) -> None:
        """Changes fields of run.json, atomically; ValueError for what could not be read again."""
        values = sealed({**self.record, **fields, "format": FORMAT})
        text = (json.dumps(values, indent=2) + "\n").encode()
        record = check(parse_json(text))  # as it will be read
        if self.record["format"] < FORMAT:
            self._write_metrics(self.read_metrics())
        write_atomically(self.path / RECORD, text)
        self.record = record

    def log(self, record: dict[str, Any]) -> None:
        """Appends one line to metrics.jsonl."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(self.metrics, flags, 0o666), "w") as file:
            file.write(json.dumps(sealed(record)) + "\n")

    def keep_metrics_to(self, epoch: int) -> None:
        """Drops the lines after `epoch`, which a resumed run will write again."""
        self._write_metrics([record for record in self.read_metrics() if record["epoch"] <= epoch])

    def _write_metrics(self, records: list[dict[str, Any]]) -> None:
        lines = (json.dumps(sealed(record)) + "\n" for record in records)
        write_atomically(self.metrics, "".join(lines))

    def read_metrics(self) -> list[dict[str, Any]]:
        """Every whole line of metrics.jsonl, without its checksum.

        RunError where a line is no record of an epoch, RunDamaged where it is not as written.
        """
        try:
            lines = read_regular(self.metrics).split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunError(
                f"{self.metrics} cannot be read: {error.strerror}.", aside(self.metrics)
            ) from error
        return [  # a line cut off by a kill has no end
            self._metric(number, line) for number, line in enumerate(lines[:-1], start=1)
        ]

    def _metric(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            record = cast("dict[str, Any]", checked(parse_json(line), _Epoch))
        except Invalid as error:
            raise RunError(
                f"Line {number} of {self.metrics} is no record of an epoch: {error}.",
                aside(self.metrics),
            ) from None
        if not (is_sealed(record) or (self.record["format"] == 1 and CHECKSUM not in record)):
            raise RunDamaged(
                f"Line {number} of {self.metrics} is not what was written.", aside(self.metrics)
            )
        record.pop(CHECKSUM, None)
        return record


class Follower(Run):
    """The same folder in a process that trains along with the one that writes."""

    @contextmanager
    def held(self) -> Iterator[None]:
        yield

    def update(self, **fields: Any) -> None:
        self.record = cast(Record, {**self.record, **fields})

    def log(self, record: dict[str, Any]) -> None:
        pass

    def keep_metrics_to(self, epoch: int) -> None:
        pass


def read(path: Path) -> Run:
    """The run in a folder; RunError where there is none or its run.json is no record of one.

    RunDamaged where the values in run.json are not those that were written.
    """
    file = path / RECORD
    if path.name != printable(path.name):
        raise RunError(f"No run can have a folder called {path.name!r}.", aside(path))
    try:
        values = parse_json(read_regular(file, MAX_RECORD))
        _check_format(path, values)
        return Run(path, check(values))
    except FileNotFoundError:
        raise RunError(
            f"{path} is not a run folder: it has no {RECORD}.", command("runs")
        ) from None
    except OSError as error:
        raise RunError(f"{file} cannot be read: {error.strerror}.", aside(path)) from error
    except Invalid as error:
        raise RunError(f"{file} does not describe a run: {error}.", aside(path)) from None


def aside(path: Path) -> str:
    """The command that takes out of sight, one level up, what is not what its name says."""
    return f"mv -- {quote(str(path))} {quote(f'broken-{path.name}')}"


def _check_format(path: Path, values: Any) -> None:
    found = values.get("format") if isinstance(values, dict) else FORMAT
    if type(found) is int and found > FORMAT:
        raise RunError(
            f"{path} has run format {found}; this ltkd reads up to {FORMAT}.",
            "pip install --upgrade ltkd",
        )
    old = found == 1 and CHECKSUM not in values
    if isinstance(values, dict) and not (old or is_sealed(values)):
        raise RunDamaged(
            f"{path / RECORD} is damaged, or was edited: its checksum is that of other values.",
            f'put the file back; or, to use it as it is, set its "format" to 1 and take its '
            f'"{CHECKSUM}" out',
        )
