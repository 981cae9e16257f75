"""Trained runs that come with the repository, so that what learns from them need not wait for them.

    python -m benchmarks.kept RUNS/teacher-ce-0

copies a finished run of the published table into `benchmarks/trained/`, where the table's driver
finds it. The copy says nothing of where images and runs lay.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ltkd_cli import runs
from ltkd_cli.data import DataSpec, load

TRAINED = Path(__file__).parent / "trained"

FILES = ("run.json", "metrics.jsonl", "model.safetensors", "per_class.csv")
"""What is copied of a run; its config.toml holds paths only for the machine that trained it."""

PLACES = {"--data": "DATA", "--data-root": "DATA", "--runs": "RUNS"}
"""Options of the recorded command that say where something lay -> what stands for that."""


def keep(source: Path, trained: Path = TRAINED) -> Path:
    """Copies a finished run, without its paths; the folder of the copy."""
    run = runs.read(source)
    run.require_done()
    target = trained / run.name
    target.mkdir(parents=True)
    for name in FILES:
        shutil.copy(source / name, target / name)
    copy, command = runs.read(target), run.record.get("command", [])
    given = zip(["", *command], command, strict=False)
    copy.update(
        settings=run.settings | {"data": run.settings["data"] | {"data": "DATA", "root": None}},
        command=[PLACES.get(option, word) for option, word in given],
    )
    return target


def take_up(
    names: Iterable[str], place: Path, images: Mapping[str, Any], trained: Path = TRAINED
) -> None:
    """Copies the trained runs of these names into `place`, where there are none yet.

    Only those that were trained on these very `images`, which are given by their options.
    """
    wanted = [n for n in names if (trained / n).is_dir() and not (place / n).exists()]
    if not wanted:
        return
    spec = {"root" if name == "data_root" else name: value for name, value in images.items()}
    train = load(DataSpec(**spec)).train
    for name in wanted:
        if train.matches(runs.read(trained / name).record["data"]["train"]):
            place.mkdir(parents=True, exist_ok=True)
            shutil.copytree(trained / name, place / name)


def main() -> None:
    """Reads the command line and copies."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, nargs="+")
    for run in parser.parse_args().run:
        print(keep(run))


if __name__ == "__main__":
    main()
