"""Where the time of a training step goes: a trace for a viewer, and the main costs in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from ..events import EpochEnd, Facts, Note, Step

SKIPPED, WARMED_UP, RECORDED = 5, 2, 10
"""Steps before the recording, steps that only warm the profiler up, steps recorded."""

SHOWN = 5
"""Costs that are named."""

IN_WORDS = (
    ("compiledfxgraph", "what torch.compile has fused"),
    ("convolution_backward", "gradients of convolutions"),
    ("conv", "convolutions"),
    ("batch_norm_backward", "gradients of batch normalisation"),
    ("batch_norm", "batch normalisation"),
    ("threshold_backward", "gradients of ReLU"),
    ("relu", "ReLU"),
    ("clamp_min", "ReLU"),
    ("sgd", "the optimiser's step"),
    ("copy_", "copies between number formats and memory layouts"),
    ("memcpy", "copies to and from the GPU"),
    ("index", "gathering rows and crops"),
    ("flip", "mirroring"),
    ("pad", "padding"),
    ("pool", "pooling"),
    ("softmax", "softmax"),
    ("addmm", "linear layers"),
    ("gemm", "matrix products"),
    ("::mm", "matrix products"),
    ("zero", "clearing memory"),
    ("fill", "clearing memory"),
    ("empty", "asking for memory"),
    ("::add", "additions"),
    ("::mul", "products"),
    ("synchronize", "waiting for the GPU"),
    ("launchkernel", "launching GPU kernels"),
)
"""Part of an operation's name -> what it is; the first that fits counts."""

Event = TypeVar("Event")


def profiled(events: Iterator[Event], trace: Path) -> Iterator[Event | Facts | Note]:
    """The events of a training, with a few of its first steps recorded into `trace`.

    Yields the main costs as Facts once the steps are recorded, or at the end of a training
    that is too short for all of them. The trace opens in chrome://tracing and Perfetto.
    """
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    steps = 0
    plan = schedule(wait=SKIPPED, warmup=WARMED_UP, active=RECORDED, repeat=1)
    recorder = profile(activities=activities, schedule=plan, acc_events=True)
    recorder.start()
    for event in events:
        yield event
        if isinstance(event, Step):
            steps += 1
            recorder.step()
        over = isinstance(event, EpochEnd) and event.epoch == event.epochs
        if steps == SKIPPED + WARMED_UP + RECORDED or (over and steps <= SKIPPED + WARMED_UP):
            break
    recorder.stop()
    if steps > SKIPPED + WARMED_UP:
        recorder.export_chrome_trace(str(trace))
        yield Facts(f"The main costs of a step (all of it: {trace})", tuple(main_costs(recorder)))
    else:
        yield Note(f"too short for a profile: it begins after {SKIPPED + WARMED_UP} steps")
    yield from events


def main_costs(recorder: profile) -> list[tuple[str, str]]:
    """(what, share of the time) of the most expensive operations, in words."""
    times: defaultdict[str, float] = defaultdict(float)
    for operation in recorder.key_averages():
        on_gpu = getattr(operation, "self_device_time_total", 0.0)
        if not operation.key.startswith(("ProfilerStep", "Optimizer.")):
            times[in_words(operation.key)] += on_gpu or operation.self_cpu_time_total
    total = sum(times.values()) or 1.0
    return [
        (what, f"{time / total:.0%}") for what, time in sorted(times.items(), key=_by_time)[:SHOWN]
    ]


def _by_time(cost: tuple[str, float]) -> float:
    return -cost[1]


def in_words(operation: str) -> str:
    """What an operation of PyTorch's is, for people; its own name where nothing is known."""
    name = operation.lower()
    return next((words for part, words in IN_WORDS if part in name), operation)
