"""What a GPU brings, thing by thing: ResNet-32 by BKD from a cache of CIFAR-10-LT, imbalance 100.

    python -m benchmarks.gpu                        # random pixels, as many and as large
    python -m benchmarks.gpu --data DATA --whole    # real ones, and a run of 200 epochs
    python -m benchmarks.gpu --device cpu --images 512 --student resnet8   # does it run at all?

DATA is the folder of the CIFAR-10 files, or an image folder. The teacher's outputs are random:
how long a step takes does not depend on what is learnt. Ends with exit code 1 where an epoch
waits for the GPU, or copies between it and the host, between its first and its last step.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks import epochs, first_step, online, speed, timing
from ltkd_cli import devices
from ltkd_cli.cache import Cache
from ltkd_cli.data import DataSpec, ImageSet, load
from ltkd_cli.events import EpochEnd, Step, Warned
from ltkd_cli.training.compiling import compile_network
from ltkd_cli.training.loader import Loader
from ltkd_cli.training.loop import Training, train
from ltkd_cli.training.recipe import PRESETS

IMAGES = 12_406
"""Training images of CIFAR-10-LT at imbalance 100."""

EPOCHS = 200

INSIDE = "between the first and the last step"

WAITS = ("cudaDeviceSynchronize", "cudaStreamSynchronize", "cudaEventSynchronize", "cudaMemcpy")
"""Calls in which the host waits for the GPU."""

COPIES = ("Memcpy HtoD (Pageable", "Memcpy DtoH")
"""How the names of copies begin that host or GPU wait for. View numbers come from pinned memory."""


@dataclass(frozen=True)
class Stage:
    """A way to train; each is the one before with one thing more."""

    name: str
    predicted: str
    """Times as fast as the one before; written before anything was measured on a GPU."""
    on_device: bool = True
    precision: str = "bfloat16"
    compiled: bool = False


HOST = Stage("gathered on the host", "", on_device=False, precision="float32")
DEVICE = Stage("kept on the GPU", "1.1 to 1.5: a thread gathers meanwhile", precision="float32")
BFLOAT16 = Stage("bfloat16", "0.9 to 1.2: launching kernels takes the time")
COMPILED = Stage(
    "compiled", "3 to 6: a CUDA graph is one launch for hundreds of kernels", compiled=True
)
STAGES = (HOST, DEVICE, BFLOAT16, COMPILED)


@dataclass(frozen=True)
class Begun:
    """A training that is ready for its next epoch."""

    training: Training
    loader: Loader
    precision: str

    def __call__(self) -> None:
        """Trains for one epoch and waits for its end."""
        epochs.train_epoch(self.training, self.loader, self.precision)


def main() -> None:
    """Measures, prints tables and writes JSON."""
    arguments = parse()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit(
            "PyTorch sees no CUDA device here. Whether this script runs at all is tried by\n"
            "    python -m benchmarks.gpu --device cpu --images 512 --student resnet8"
        )
    device = devices.open_device(arguments.device)
    images = images_of(arguments)
    results: dict[str, object] = {
        "machine": timing.machine(device),
        "images": len(images.labels),
        "pixels": "real" if arguments.data else "random",
        "student": arguments.student,
        "rounds": arguments.rounds,
    }
    with tempfile.TemporaryDirectory() as folder:
        cache = epochs.random_cache(Path(folder) / "cache.h5", images)
        begun, results["compiling"] = begin_all(images, cache, arguments.student, device)
        results["stages"] = stage_by_stage(begun, len(images.labels), arguments.rounds)
        results["against online"] = against_online(begun, images, arguments, device)
        found = {stage.name: waits_of(begun[stage]) for stage in begun if stage.on_device}
        results["waits and copies"] = show_waits(found)
        if arguments.whole:
            results["whole run"] = whole_run(begun, images, cache, arguments.student, device)
    timing.write(arguments.output, results)
    print(f"\nwrote {arguments.output}")
    sys.exit(1 if any(found.values()) else 0)


def images_of(arguments: argparse.Namespace) -> ImageSet:
    """The training images of CIFAR-10-LT at imbalance 100, or random ones."""
    if arguments.data is None:
        return epochs.random_images(arguments.images)
    if (arguments.data / "cifar-10-batches-py").exists():
        return load(DataSpec("cifar10-lt", root=str(arguments.data), imbalance=100)).train
    return load(DataSpec(str(arguments.data), imbalance=100)).train


def begin_all(
    images: ImageSet, cache: Cache, student: str, device: torch.device
) -> tuple[dict[Stage, Begun], str]:
    """Every stage that there is here, and how compiling the last one went."""
    begun = {stage: begin_stage(stage, images, cache, student, device) for stage in STAGES}
    last = begun[COMPILED]
    event = compile_network(last.training, last.loader, epochs.RECIPE, last.precision)
    print(event.text)
    if isinstance(event, Warned):
        del begun[COMPILED]
    return begun, event.text


def begin_stage(
    stage: Stage, images: ImageSet, cache: Cache, student: str, device: torch.device
) -> Begun:
    """The training of a stage at its start, not compiled."""
    training, loader = epochs.training_of(
        images, cache, "bkd", student, device, resident=stage.on_device
    )
    return Begun(training, loader, stage.precision)


def stage_by_stage(begun: dict[Stage, Begun], images: int, rounds: int) -> list[dict[str, object]]:
    """Seconds per epoch of every stage, and how many times as fast it is as the one before."""
    seconds = timing.in_turn({stage.name: epoch for stage, epoch in begun.items()}, rounds)
    print(
        "\n| | s per epoch | images/s | 200 epochs, projected | times as fast as the row above "
        "| predicted |\n|---|---|---|---|---|---|"
    )
    rows: list[dict[str, object]] = []
    before = None
    for stage in begun:
        each = first_step.spread(seconds[stage.name])["median"]
        gain = timing.ratios(seconds, before, stage.name) if before else None
        told = f"{gain['median']:.2f} ({gain['low']:.2f} to {gain['high']:.2f})" if gain else ""
        print(
            f"| {stage.name} | {each:.3f} | {images / each:,.0f} | {EPOCHS * each / 60:.1f} min "
            f"| {told} | {stage.predicted} |"
        )
        rows.append(
            {
                "stage": stage.name,
                "predicted": stage.predicted,
                "seconds": seconds[stage.name],
                "images per second": images / each,
                "projected seconds of 200 epochs": EPOCHS * each,
                "times as fast as the one before": gain,
            }
        )
        before = stage.name
    return rows


def against_online(
    begun: dict[Stage, Begun],
    images: ImageSet,
    arguments: argparse.Namespace,
    device: torch.device,
) -> dict[str, object]:
    """How many times as long an epoch of online distillation takes, same networks."""
    pixels = images.images.resident
    assert pixels is not None
    name = arguments.student
    student, teacher = epochs.network(name), epochs.network(name)
    plain = online.epoch(
        student, teacher, pixels, images.labels, epochs.BATCH, device, arguments.workers
    )
    ours = {stage.name: begun[stage] for stage in (DEVICE, BFLOAT16, COMPILED) if stage in begun}
    seconds = timing.in_turn({"online": plain, **ours}, arguments.rounds)
    found = {name: timing.ratios(seconds, "online", name) for name in ours}
    speed.show(f"times as fast as online, {name} to {name}", found, "at least 5")
    return {"seconds": seconds, "ratios": found, "workers": arguments.workers}


def waits_of(begun: Begun) -> Counter[str]:
    """Waits for the GPU and copies between it and the host, by name, inside an epoch."""
    training, loader = begun.training, begun.loader
    training.epoch = 0
    events = train(training, loader, epochs.RECIPE, seed=0, precision=begun.precision)
    first = next(events)
    assert isinstance(first, Step)
    epochs.wait(loader.device)
    activities = [ProfilerActivity.CPU]
    if loader.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as recorder:
        with record_function(INSIDE):
            for _ in range(first.batches - 2):
                next(events)
        epochs.wait(loader.device)
    for _ in events:
        pass
    return forbidden(recorder)


def forbidden(recorder: profile) -> Counter[str]:
    """How often the host waited while it was inside, and all copies from and to it, by name."""
    events = recorder.events()
    inside = next(
        event.time_range
        for event in events
        if event.name == INSIDE and event.device_type == DeviceType.CPU
    )
    return Counter(
        event.name
        for event in events
        if event.name.startswith(COPIES)
        or (event.name in WAITS and inside.start <= event.time_range.start <= inside.end)
    )


def show_waits(found: dict[str, Counter[str]]) -> dict[str, dict[str, int]]:
    """Prints what was found, stage by stage."""
    print(f"\nwaits for the GPU, and copies between it and the host, {INSIDE} of an epoch:")
    for name, counted in found.items():
        listed = ", ".join(f"{what} {times}" for what, times in counted.items())
        print(f"  {name}: {listed or 'none'}")
    return {name: dict(counted) for name, counted in found.items()}


def whole_run(
    begun: dict[Stage, Begun],
    images: ImageSet,
    cache: Cache,
    student: str,
    device: torch.device,
) -> dict[str, object]:
    """Seconds of 200 epochs by the `ldam` recipe, compiled where that works."""
    stage = COMPILED if COMPILED in begun else BFLOAT16
    recipe = PRESETS["ldam"]
    assert (recipe.epochs, recipe.batch_size) == (EPOCHS, epochs.BATCH)
    started = time.perf_counter()
    run = begin_stage(stage, images, cache, student, device)
    if stage.compiled:
        compile_network(run.training, run.loader, recipe, run.precision)
    ready = time.perf_counter()
    for event in train(run.training, run.loader, recipe, seed=0, precision=run.precision):
        if isinstance(event, EpochEnd):
            last = event
    epochs.wait(device)
    ended = time.perf_counter()
    found = {"stage": stage.name, "preparing": ready - started, "training": ended - ready}
    print(
        f"\n{last.epochs} epochs, {stage.name}: {ended - ready:.1f} s, and {ready - started:.1f} s "
        "before the first"
    )
    return found


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the CIFAR-10 files, or of images")
    parser.add_argument("--images", type=int, default=IMAGES, help="how many random ones")
    parser.add_argument("--student", default="resnet32", help="and the teacher of online.py")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=8, help="loader processes of online.py")
    parser.add_argument("--whole", action="store_true", help="also train 200 epochs")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/gpu.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
