"""Every method on CIFAR-10-LT, imbalance 100: trains what is missing and prints the table.

    python -m benchmarks.cifar10_lt --data cifar10-lt --epochs 200          # as published
    python -m benchmarks.cifar10_lt --data PATH/TO/FOLDER --student resnet20 --epochs 20

Each cell is one `ltkd` command and one run folder. Stop it at any time: finished cells are
not run again, and a cell that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import timing

TEACHERS = {
    "ce": ["--method", "ce"],
    "balanced-softmax": ["--method", "balanced-softmax"],
    "cosine": ["--method", "ce", "--head", "cosine:20"],
}
"""Name -> what tells this teacher from others."""


@dataclass(frozen=True)
class Student:
    """One row of the table."""

    name: str
    arguments: tuple[str, ...]
    teacher: str | None = None


STUDENTS = (
    Student("ce", ("--method", "ce")),
    Student("balanced-softmax", ("--method", "balanced-softmax")),
    Student("kd", ("--method", "kd"), "ce"),
    Student("bkd", ("--method", "bkd", "--set", "from_progress=0.8"), "ce"),
    Student("dive", ("--method", "dive", "--set", "temperature=2"), "balanced-softmax"),
    Student("cbd", ("--method", "cbd"), "cosine"),
    Student("krdistill", ("--method", "krdistill"), "ce"),
    Student("ltkd", ("--method", "ltkd"), "ce"),
    Student("dkd", ("--method", "dkd"), "ce"),
    Student("dist", ("--method", "dist"), "ce"),
    Student("feature", ("--method", "feature"), "ce"),
    Student("crd", ("--method", "crd"), "ce"),
    Student("lfme", ("--method", "lfme"), "ce"),
    Student("ldam", ("--method", "ldam")),
    Student("class-balanced", ("--method", "class-balanced", "--set", "from_progress=0.8")),
    Student("logit-adjust", ("--method", "logit-adjust")),
    Student("focal", ("--method", "focal")),
)


@dataclass(frozen=True)
class Settings:
    """What all cells share."""

    runs: Path
    images: tuple[str, ...]
    recipe: tuple[str, ...]
    machine: tuple[str, ...]
    teacher_model: str
    student_model: str
    views: int
    export_precision: str
    workers: int


def main() -> None:
    """Reads the command line, fills the table and prints it."""
    settings, arguments = read_settings(__doc__)
    rows = [row for row in STUDENTS if row.name in arguments.methods]
    if not arguments.table_only:
        fill(settings, rows, arguments.seeds)
    titles = [(f"teacher: {name}", f"teacher-{name}") for name in TEACHERS]
    print_table(settings, [*titles, *((row.name, row.name) for row in rows)], arguments)


def read_settings(description: str) -> tuple[Settings, argparse.Namespace]:
    """Settings from the command line, and the rest of it."""
    arguments = parse(description)
    return Settings(
        runs=arguments.runs,
        images=("--data", arguments.data, "--imbalance", "100", *root(arguments.data_root)),
        recipe=("--recipe", arguments.recipe, "--epochs", str(arguments.epochs)),
        machine=("--device", arguments.device, "--evaluate-every", "0"),
        teacher_model=arguments.teacher,
        student_model=arguments.student,
        views=arguments.views,
        export_precision=arguments.export_precision,
        workers=arguments.workers,
    ), arguments


def fill(settings: Settings, rows: Sequence[Student], seeds: Sequence[int]) -> None:
    """Trains teachers, exports their caches, trains students; whatever is missing."""
    wanted = {row.teacher for row in rows}
    teachers = [name for name in TEACHERS if name in wanted]
    in_parallel(settings, [teach(settings, name, seed) for name in teachers for seed in seeds])
    in_parallel(settings, [export(settings, name, seed) for name in teachers for seed in seeds])
    in_parallel(settings, [distill(settings, row, seed) for row in rows for seed in seeds])


def teach(settings: Settings, name: str, seed: int) -> list[str]:
    """The command of one teacher; empty when it is done."""
    begin = [
        "teach", *settings.images, "--model", settings.teacher_model, *TEACHERS[name],
        *settings.recipe, "--seed", str(seed),
    ]  # fmt: skip
    return train(settings, "teach", f"teacher-{name}-{seed}", begin)


def distill(settings: Settings, row: Student, seed: int) -> list[str]:
    """The command of one student; empty when it is done."""
    cache = []
    if row.teacher:
        cache = ["--cache", str(cache_of(settings, row.teacher, seed))]
    begin = [
        "distill", *settings.images, "--model", settings.student_model, *row.arguments, *cache,
        *settings.recipe, "--seed", str(seed),
    ]  # fmt: skip
    return train(settings, "distill", f"{row.name}-{seed}", begin)


def train(settings: Settings, kind: str, name: str, begin: list[str]) -> list[str]:
    """`begin` for a new run, the command that resumes an unfinished one, or nothing."""
    record = settings.runs / name / "run.json"
    if not record.exists():
        return [*begin, *settings.machine, "--name", name, "--runs", str(settings.runs)]
    if json.loads(record.read_text())["status"] == "done":
        return []
    return [kind, "--resume", name, "--runs", str(settings.runs)]


def export(settings: Settings, name: str, seed: int) -> list[str]:
    """The command that writes a teacher's cache, or goes on with it; empty when it is done."""
    path = cache_of(settings, name, seed)
    if path.exists():
        return []
    return [
        "export-logits", f"teacher-{name}-{seed}", "--views", str(settings.views),
        "--output", str(path), "--runs", str(settings.runs), *settings.machine[:2],
        "--precision", settings.export_precision,
    ]  # fmt: skip


def cache_of(settings: Settings, teacher: str, seed: int) -> Path:
    """Where a teacher's cache lies."""
    return settings.runs / f"teacher-{teacher}-{seed}" / f"{settings.views}-views.h5"


def in_parallel(settings: Settings, commands: Iterable[list[str]]) -> None:
    """Runs the commands, a few at a time with an equal share of the cores each."""
    with ThreadPoolExecutor(settings.workers) as pool:
        list(pool.map(lambda command: run(settings, command), [c for c in commands if c]))


def run(settings: Settings, command: list[str]) -> None:
    """Runs one `ltkd` command; stops everything where it fails."""
    threads = max(1, (os.cpu_count() or 1) // settings.workers)
    print(" ".join(["ltkd", *command]), flush=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    subprocess.run([sys.executable, "-m", "ltkd_cli", *command], check=True, env=environment)


def print_table(
    settings: Settings, rows: Sequence[tuple[str, str]], arguments: argparse.Namespace
) -> None:
    """The finished rows (title, stem of the runs' names) as a Markdown table, and as JSON.

    Mean over seeds with its 95 % t interval, in percent, at the last epoch.
    """
    print("| method | n | all | head | medium | tail |")
    print("|---|---|---|---|---|---|")
    kept = {}
    for title, stem in rows:
        names = [f"{stem}-{seed}" for seed in arguments.seeds]
        done = [name for name in names if is_done(settings, name)]
        if done:
            records = [json.loads((settings.runs / n / "run.json").read_text()) for n in done]
            print(table_row(title, records))
            kept[title] = {name: summary(r) for name, r in zip(done, records, strict=True)}
    if arguments.output:
        timing.write(arguments.output, kept)


def summary(record: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a run beside the table."""
    names = ("recipe", "model", "options", "seed", "precision")
    return {
        "scores": record["scores"],
        "seconds": record["seconds"],
        "data": record["data"]["name"],
        "train_fingerprint": record["data"]["train"],
        "environment": record["environment"],
        **{name: record["settings"][name] for name in names},
    }


def is_done(settings: Settings, name: str) -> bool:
    """Whether a run has ended."""
    record = settings.runs / name / "run.json"
    return record.exists() and json.loads(record.read_text())["status"] == "done"


def table_row(title: str, records: Sequence[dict[str, Any]]) -> str:
    """One row, from the scores that the runs recorded at their last epoch."""
    from ltkd_cli.evaluate import interval_over_seeds

    cells = []
    for split in ("all", "head", "medium", "tail"):
        values = [100 * record["scores"][split]["accuracy"] for record in records]
        mean, low, high = interval_over_seeds(values)
        cells.append(f"{mean:.1f}" if low is None else f"{mean:.1f} [{low:.1f}, {high:.1f}]")
    return f"| {title} | {len(records)} | {' | '.join(cells)} |"


def parse(description: str) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="cifar10-lt", help="cifar10-lt or an image folder")
    parser.add_argument("--data-root", help="folder of the CIFAR files")
    parser.add_argument("--runs", type=Path, default=Path("runs-cifar10-lt"))
    parser.add_argument("--recipe", default="ldam")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--teacher", default="resnet32", help="network of the teachers")
    parser.add_argument("--student", default="resnet32", help="network of the students")
    parser.add_argument("--views", type=int, default=16)
    parser.add_argument("--export-precision", default="float32", help="float32 or bfloat16")
    parser.add_argument("--seeds", type=numbers, default=[0, 1, 2], help="such as 0,1,2")
    parser.add_argument("--methods", type=names_of_rows, default=[row.name for row in STUDENTS])
    parser.add_argument("--workers", type=int, default=1, help="commands at the same time")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, help="write the scores of every run as JSON")
    parser.add_argument("--table-only", action="store_true", help="train nothing")
    return parser.parse_args()


def numbers(text: str) -> list[int]:
    """`0,1,2` as numbers."""
    return [int(part) for part in text.split(",")]


def names_of_rows(text: str) -> list[str]:
    """`kd,bkd` as names of rows; argparse's error for others."""
    known = {row.name for row in STUDENTS}
    names = text.split(",")
    if unknown := set(names) - known:
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}; there are {sorted(known)}")
    return names


def root(data_root: str | None) -> list[str]:
    """The option for the folder of the CIFAR files, where one is given."""
    return ["--data-root", data_root] if data_root else []


if __name__ == "__main__":
    main()
