"""Students from the cache against label-only training and against online distillation.

python -m benchmarks.speed            # seconds per epoch, as ratios measured in turn
python -m benchmarks.speed --data-folder CIFAR10    # and the start of `ltkd distill` on it
python -m benchmarks.speed --parts compile          # one part alone
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import epochs, first_step, timing
from benchmarks.contender import Contender
from ltkd_cli import devices
from ltkd_cli.cache import Cache
from ltkd_cli.data import ImageSet
from ltkd_cli.views.policy import to_float, view

LOGIT_METHODS = ("kd", "bkd", "dive", "dkd", "dist", "ltkd")


PARTS = ("labels", "online", "compile", "inputs", "start", "first-step")
"""What is measured: a function below for each."""

PAIRS = (("resnet110", "resnet20"), ("resnet32", "resnet32"))
"""Teacher and student."""


def main() -> None:
    """Measures, prints tables and writes JSON."""
    arguments = parse()
    device = devices.open_device(arguments.device)
    images, rounds = epochs.random_images(arguments.images), arguments.rounds
    results = {
        "machine": timing.machine(device),
        "images": arguments.images,
        "rounds": rounds,
    }
    with tempfile.TemporaryDirectory() as folder:
        cache = epochs.random_cache(Path(folder) / "cache.h5", images)
        if "labels" in arguments.parts:
            results["against labels only"] = against_labels(images, cache, device, rounds)
        for teacher, student in PAIRS:
            if "online" in arguments.parts:
                results[f"against online, {teacher} to {student}"] = against_online(
                    images, cache, teacher, student, device, rounds
                )
            if "compile" in arguments.parts:
                results[f"--compile, {student}"] = compiled(images, cache, student, device, rounds)
    if "inputs" in arguments.parts:
        results["input side"] = input_share(images, device, rounds)
    if "start" in arguments.parts:
        results["start"] = start_up(rounds)
    if "first-step" in arguments.parts:
        results["first step"] = to_first_step(arguments.data_folder, rounds)
    timing.write(arguments.output, results)
    print(f"wrote {arguments.output}")


def against_labels(
    images: ImageSet, cache: Cache, device: torch.device, rounds: int
) -> dict[str, object]:
    """Seconds per epoch of every logit method as a share of those of ce, same network."""
    contenders = {
        name: epochs.epoch_of(images, cache, name, "resnet20", "auto", device)
        for name in ("ce", *LOGIT_METHODS)
    }
    seconds = timing.in_turn(contenders, rounds)
    found = {name: timing.ratios(seconds, name, "ce") for name in LOGIT_METHODS}
    show("seconds per epoch against ce, resnet20", found, "at most 1.05")
    return {"seconds": seconds, "ratios": found}


def against_online(
    images: ImageSet, cache: Cache, teacher: str, student: str, device: torch.device, rounds: int
) -> dict[str, object]:
    """How many times as long an epoch of online distillation takes."""
    shared = shared_arguments(images, cache, teacher, student, device)
    with (
        Contender("online", *shared) as plain,
        Contender("cache", *shared, "--precision", "float32") as in_float32,
        Contender("cache", *shared) as by_default,
        Contender("cache", *shared, "--compile") as by_compiler,
    ):
        contenders = {
            "online": plain,
            "float32": in_float32,
            "default": by_default,
            "--compile": by_compiler,
        }
        seconds = timing.in_turn(contenders, rounds)
    found = {name: timing.ratios(seconds, "online", name) for name in contenders}
    del found["online"]
    show(f"times as fast as online, {teacher} to {student}", found, "at least 3")
    return {"seconds": seconds, "ratios": found}


def compiled(
    images: ImageSet, cache: Cache, student: str, device: torch.device, rounds: int
) -> dict[str, object]:
    """How many times as long an epoch takes without `--compile`."""
    shared = shared_arguments(images, cache, student, student, device)
    with (
        Contender("cache", *shared) as by_default,
        Contender("cache", *shared, "--compile") as by_compiler,
    ):
        seconds = timing.in_turn({"default": by_default, "--compile": by_compiler}, rounds)
    found = {"--compile": timing.ratios(seconds, "default", "--compile")}
    show(f"times as fast as without --compile, {student}", found, "more than 1")
    return {"seconds": seconds, "ratios": found}


def shared_arguments(
    images: ImageSet, cache: Cache, teacher: str, student: str, device: torch.device
) -> tuple[str, ...]:
    """What contenders have in common on the command line."""
    return (
        "--teacher", teacher, "--student", student, "--cache", str(cache.path),
        "--images", str(len(images.labels)), "--device", str(device),
    )  # fmt: skip


def input_share(images: ImageSet, device: torch.device, rounds: int) -> dict[str, object]:
    """Seconds of view and normalisation as a share of an epoch of resnet20 by ce."""
    pixels = images.images.resident
    assert pixels is not None
    pixels = pixels.to(device)
    network = epochs.network("resnet20").to(device)

    def inputs() -> None:
        for rows in torch.split(torch.randperm(len(pixels), device=device), epochs.BATCH):
            seen = to_float(view(pixels[rows], rows, rows + 1, epochs.POLICY))
            torch.addcmul(network.shift, seen, network.scale)
        epochs.wait(device)

    contenders = {
        "inputs": inputs,
        "epoch": epochs.epoch_of(images, None, "ce", "resnet20", "auto", device),
    }
    seconds = timing.in_turn(contenders, rounds)
    found = {"view and normalise": timing.ratios(seconds, "inputs", "epoch")}
    show("share of an epoch of resnet20", found, "less than 0.05")
    return {"seconds": seconds, "ratios": found}


def start_up(rounds: int) -> dict[str, object]:
    """Seconds of `ltkd --help` against importing what it is made of."""
    contenders = {
        "ltkd --help": command("-m", "ltkd_cli", "--help"),
        "imports": command("-c", "import typer, rich.console"),
    }
    seconds = timing.in_turn(contenders, rounds)
    found = {"ltkd --help": timing.ratios(seconds, "ltkd --help", "imports")}
    show("against python -c 'import typer, rich.console'", found, "at most 3")
    return {"seconds": seconds, "ratios": found}


def to_first_step(folder: Path | None, rounds: int) -> dict[str, object]:
    """Seconds from Enter to the first step of `ltkd distill` on CIFAR-10-LT in a folder."""
    if folder is None:
        skipped = "skipped, for there is no --data-folder with the images of CIFAR-10"
        print(f"\nseconds to the first step of `ltkd distill`: {skipped}")
        return {"skipped": skipped}
    seconds = first_step.seconds_to_first_step(folder, rounds)
    found = {"ltkd distill, resnet32": first_step.spread(seconds)}
    show("seconds from Enter to the first step, images decoded before", found, "less than 5")
    return {"seconds": seconds, "spread": found}


def command(*arguments: str) -> Callable[[], None]:
    """A function that runs python with the arguments and waits."""
    return lambda: (
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL) and None
    )


def show(title: str, found: dict[str, dict[str, float]], target: str) -> None:
    """Prints ratios as a Markdown table."""
    print(f"\n{title} (target: {target})\n\n| | median | lowest | highest |\n|---|---|---|---|")
    for name, ratio in found.items():
        print(f"| {name} | {ratio['median']:.3f} | {ratio['low']:.3f} | {ratio['high']:.3f} |")
    sys.stdout.flush()


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--data-folder", type=Path, help="CIFAR-10 as an image folder")
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS)
    )
    stamp = time.strftime("%Y-%m-%d")
    parser.add_argument(
        "--output", type=Path, default=Path(f"benchmarks/results/speed-{stamp}.json")
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
