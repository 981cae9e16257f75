"""A run's numbers as TensorBoard event files, for those who look at them there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from ..errors import UsageError


class Log(Protocol):
    """Takes the record of one epoch, as it goes into metrics.jsonl."""

    def __call__(self, record: dict[str, Any]) -> None: ...


def check_installed() -> None:
    """UsageError where TensorBoard is not installed."""
    if find_spec("tensorboard") is None:
        raise UsageError(
            "--tensorboard needs the package tensorboard.", "pip install 'ltkd[tensorboard]'"
        )


@contextmanager
def event_files(folder: Path, first_epoch: int) -> Iterator[Log]:
    """A log that writes event files into `folder`; what it held from `first_epoch` on is void."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder), purge_step=first_epoch)

    def log(record: dict[str, Any]) -> None:
        for name, value in scalars(record).items():
            writer.add_scalar(name, value, record["epoch"])

    try:
        yield log
    finally:
        writer.close()


def scalars(record: dict[str, Any]) -> dict[str, float]:
    """The numbers in an epoch's record, named `loss/TERM`, `validation/GROUP` and so on."""
    found = {f"loss/{name}": value for name, value in record["terms"].items()}
    found["loss/sum"] = sum(record["terms"].values())
    for split in ("validation", "test"):
        known = {name: value for name, value in record.get(split, {}).items() if value is not None}
        found |= {f"{split}/{name}": value for name, value in known.items()}
    for name in ("learning_rate", "images_per_second", "waiting"):
        found[f"training/{name}"] = record[name]
    return found
