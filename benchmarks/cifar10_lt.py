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
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import timing

TEACHERS = {
    "ce": ("--method", "ce"),
    "balanced-softmax": ("--method", "balanced-softmax"),
    "cosine": ("--method", "ce", "--head", "cosine:20"),
    "head-expert": ("--method", "ce", "--classes", "head"),
    "medium-expert": ("--method", "ce", "--classes", "medium"),
    "tail-expert": ("--method", "ce", "--classes", "tail"),
}
"""Name -> what tells this teacher from others."""

EXPERTS = ("head-expert", "medium-expert", "tail-expert")
"""Teachers of some classes only; no row of their own."""

SPLITS = ("all", "head", "medium", "tail")

DEFERRED = ("--set", "from_progress=0.8")
"""Class weights from epoch 160 of 200 on, as the published protocol has it."""


@dataclass(frozen=True)
class Row:
    """One row of the table: a student, or a second stage of a teacher."""

    name: str
    arguments: tuple[str, ...]
    """Of `distill`, or of `rebalance`."""
    teachers: tuple[str, ...] = ()
    command: str = "distill"

    def stem(self) -> str:
        """Name of its runs, without the seed."""
        return self.name.replace(" ", "-")

    def in_words(self) -> str:
        """What it adds to the command that all rows share."""
        own = " ".join(self.arguments)
        if self.command == "rebalance":
            return f"rebalance {own} of the {self.teachers[0]} teacher"
        return own + (f", teacher: {' and '.join(self.teachers)}" if self.teachers else "")


def student(name: str, *arguments: str, teachers: tuple[str, ...] = ()) -> Row:
    """A student by the method that `name` begins with, with more arguments."""
    return Row(name, ("--method", name.split()[0], *arguments), teachers)


def second_stage(how: str) -> Row:
    """The ce teachers with their last layer rebalanced."""
    return Row(f"{how} of ce", ("--how", how), ("ce",), "rebalance")


def without(part: str, *off: str) -> Row:
    """KRDistill with some parts switched off."""
    settings = [argument for option in off for argument in ("--set", option)]
    return student(f"krdistill {part}", *settings, teachers=("ce",))


NO_LOGIT_HALF = ("exchange=false", "prior_strength=0")
NO_FEATURE_HALF = ("representation_weight=0",)

ROWS = (
    student("ce"),
    student("balanced-softmax"),
    student("logit-adjust"),
    student("class-balanced", *DEFERRED),
    student("ldam"),
    student("focal"),
    second_stage("crt"),
    second_stage("lws"),
    second_stage("mislas"),
    second_stage("tau-norm"),
    second_stage("logit-adjust"),
    student("kd", teachers=("ce",)),
    student("dkd", teachers=("ce",)),
    student("dist", teachers=("ce",)),
    student("feature", "--clip-norm", "5", teachers=("ce",)),
    student("crd", "--clip-norm", "5", teachers=("ce",)),
    student("bkd", *DEFERRED, teachers=("ce",)),
    student("cbd", teachers=("cosine",)),
    student("dive", "--set", "temperature=2", teachers=("balanced-softmax",)),
    student("ltkd", teachers=("ce",)),
    student("lfme", teachers=EXPERTS),
    student("krdistill", teachers=("ce",)),
    without("logits only", *NO_FEATURE_HALF),
    without("features only", *NO_LOGIT_HALF),
    without("with neither", *NO_LOGIT_HALF, *NO_FEATURE_HALF),
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
    rows = [row for row in ROWS if row.name in arguments.methods]
    if not arguments.table_only:
        fill(settings, rows, arguments.seeds)
    shown = [(f"teacher, {name}", f"teacher-{name}", " ".join(TEACHERS[name])) for name in TEACHERS]
    shown = [row for row in shown if row[0].removeprefix("teacher, ") not in EXPERTS]
    shown += [(row.name, row.stem(), row.in_words()) for row in rows]
    print_table(settings, shown, arguments)


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


def fill(settings: Settings, rows: Sequence[Row], seeds: Sequence[int]) -> None:
    """Trains teachers, exports their caches, trains the rows; whatever is missing."""
    wanted = {name for row in rows for name in row.teachers}
    asked = {name for row in rows if row.command == "distill" for name in row.teachers}
    teachers = [name for name in TEACHERS if name in wanted]
    in_parallel(settings, [teach(settings, name, seed) for name in teachers for seed in seeds])
    caches = [name for name in TEACHERS if name in asked]
    in_parallel(settings, [export(settings, name, seed) for name in caches for seed in seeds])
    in_parallel(settings, [cell(settings, row, seed) for row in rows for seed in seeds])


def teach(settings: Settings, name: str, seed: int) -> list[str]:
    """The command of one teacher; empty when it is done."""
    begin = [
        "teach", *settings.images, "--model", settings.teacher_model, *TEACHERS[name],
        *settings.recipe, "--seed", str(seed),
    ]  # fmt: skip
    return train(settings, "teach", f"teacher-{name}-{seed}", begin)


def cell(settings: Settings, row: Row, seed: int) -> list[str]:
    """The command of one run of a row; empty when it is done."""
    name = f"{row.stem()}-{seed}"
    if row.command == "rebalance":
        return rebalance(settings, row, seed, name)
    caches = []
    for teacher in row.teachers:
        caches += ["--cache", str(cache_of(settings, teacher, seed))]
    begin = [
        "distill", *settings.images, "--model", settings.student_model, *row.arguments, *caches,
        *settings.recipe, "--seed", str(seed),
    ]  # fmt: skip
    return train(settings, "distill", name, begin)


def rebalance(settings: Settings, row: Row, seed: int, name: str) -> list[str]:
    """The command of a second stage, which leaves nothing when it is interrupted."""
    begin = ["rebalance", f"teacher-{row.teachers[0]}-{seed}", *row.arguments]
    if begun(settings, name, begin):
        return []
    return [*begin, *settings.machine[:2], "--name", name, "--runs", str(settings.runs)]


def train(settings: Settings, kind: str, name: str, begin: list[str]) -> list[str]:
    """`begin` for a new run, the command that resumes an unfinished one, or nothing."""
    if not begun(settings, name, begin):
        return [*begin, *settings.machine, "--name", name, "--runs", str(settings.runs)]
    if finished(settings, name):
        return []
    return [kind, "--resume", name, "--runs", str(settings.runs)]


def begun(settings: Settings, name: str, begin: list[str]) -> bool:
    """Whether there is a run of that name; ends the program where another command began it."""
    file = settings.runs / name / "run.json"
    if not file.exists():
        return False
    command = json.loads(file.read_text())["command"][1:]
    if command[: len(begin)] != begin:
        wanted, found = shlex.join(begin), shlex.join(command)
        sys.exit(f"{file.parent} is of another table; choose other --runs\n{wanted}\n{found}")
    return True


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
    """Runs the commands, a few at a time with an equal share of the cores each.

    One that fails does not keep the others from their end; it ends everything after them.
    """
    wanted = [command for command in commands if command]
    with ThreadPoolExecutor(settings.workers) as pool:
        codes = list(pool.map(lambda command: run(settings, command), wanted))
    failed = [shlex.join(["ltkd", *c]) for c, code in zip(wanted, codes, strict=True) if code]
    if failed:
        sys.exit("failed:\n  " + "\n  ".join(failed))


def run(settings: Settings, command: list[str]) -> int:
    """Runs one `ltkd` command; returns its exit code."""
    threads = max(1, (os.cpu_count() or 1) // settings.workers)
    print(" ".join(["ltkd", *command]), flush=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    return subprocess.run([sys.executable, "-m", "ltkd_cli", *command], env=environment).returncode


def print_table(
    settings: Settings, rows: Sequence[tuple[str, str, str]], arguments: argparse.Namespace
) -> None:
    """The finished rows (title, stem of the runs' names, own arguments) as Markdown and JSON.

    Mean over seeds with its 95 % t interval, in percent, at the last epoch.
    """
    print("| row | n | all | head | medium | tail | minutes |")
    print("|---|---|---|---|---|---|---|")
    kept = {}
    for title, stem, own in rows:
        names = [f"{stem}-{seed}" for seed in arguments.seeds]
        records = {name: record for name in names if (record := finished(settings, name))}
        if records:
            print(table_row(title, list(records.values())))
            runs = {name: summary(record) for name, record in records.items()}
            kept[title] = {"arguments": own, "runs": runs}
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


def finished(settings: Settings, name: str) -> dict[str, Any] | None:
    """The record of a run that has ended; None where it is missing or unfinished."""
    file = settings.runs / name / "run.json"
    record: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return record if record.get("status") == "done" else None


def table_row(title: str, records: Sequence[dict[str, Any]]) -> str:
    """One row, from the scores that the runs recorded at their last epoch."""
    from ltkd_cli.metrics import interval_over_seeds

    cells = []
    for split in SPLITS:
        values = [100 * record["scores"][split]["accuracy"] for record in records]
        mean, low, high = interval_over_seeds(values)
        # An interval over two seeds spans most of the scale and says nothing.
        told = low is not None and len(values) > 2
        cells.append(f"{mean:.1f} [{low:.1f}, {high:.1f}]" if told else f"{mean:.1f}")
    minutes = sum(record["seconds"] for record in records) / len(records) / 60
    return f"| {title} | {len(records)} | {' | '.join(cells)} | {minutes:.1f} |"


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
    parser.add_argument("--methods", type=names_of_rows, default=[row.name for row in ROWS])
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
    known = {row.name for row in ROWS}
    names = text.split(",")
    if unknown := set(names) - known:
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}; there are {sorted(known)}")
    return names


def root(data_root: str | None) -> list[str]:
    """The option for the folder of the CIFAR files, where one is given."""
    return ["--data-root", data_root] if data_root else []


if __name__ == "__main__":
    main()
