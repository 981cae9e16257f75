"""Where the time of a training step goes: a trace for a viewer, and a table of the operations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import torch
from torch.autograd.profiler_util import EventList
from torch.profiler import ProfilerActivity, profile, schedule

from ..events import EpochEnd, Facts, Note, Step
from ..files import write_atomically

SKIPPED, WARMED_UP, RECORDED = 5, 2, 10
"""Steps before the recording, steps that only warm the profiler up, steps recorded."""

SHOWN = 5
"""Operations that are shown; the table has all of them."""

Event = TypeVar("Event")


def profiled(events: Iterator[Event], folder: Path) -> Iterator[Event | Facts | Note]:
    """The events of a training, with a few of its first steps recorded into `folder`.

    `trace.json` opens in chrome://tracing and Perfetto; `profile.txt` is PyTorch's table of
    operations. Yields the most expensive ones as Facts once the steps are recorded, or at the
    end of a training that is too short for all of them.
    """
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    steps = 0
    plan = schedule(wait=SKIPPED, warmup=WARMED_UP, active=RECORDED, repeat=1)
    recorder = profile(activities=activities, schedule=plan, acc_events=True)
    recorder.start()
    try:
        for event in events:
            yield event
            if isinstance(event, Step):
                steps += 1
                recorder.step()
            over = isinstance(event, EpochEnd) and event.epoch == event.epochs
            if steps == SKIPPED + WARMED_UP + RECORDED or (over and steps <= SKIPPED + WARMED_UP):
                break
    finally:
        recorder.stop()
    if steps > SKIPPED + WARMED_UP:
        recorder.export_chrome_trace(str(folder / "trace.json"))
        operations = recorder.key_averages()
        table = folder / "profile.txt"
        write_atomically(table, operations.table(sort_by=_time_of(operations), row_limit=-1))
        yield Facts(f"The most expensive operations (all: {table})", _shown(operations))
    else:
        yield Note(f"too short for a profile: it begins after {SKIPPED + WARMED_UP} steps")
    yield from events


def _time_of(operations: EventList) -> str:
    """The time to sort by: the GPU's where it was used, else the CPU's."""
    on_gpu = any(operation.self_device_time_total for operation in operations)
    return "self_device_time_total" if on_gpu else "self_cpu_time_total"


def _shown(operations: EventList) -> tuple[tuple[str, str], ...]:
    """The most expensive operations, each with its share of the time of all."""
    time = _time_of(operations)
    seconds = {
        operation.key: getattr(operation, time)
        for operation in operations
        # On a GPU its kernels are listed a second time, beside the operations they belong to.
        if operation.device_type.name == "CPU" and not operation.key.startswith("ProfilerStep")
    }
    total = sum(seconds.values()) or 1
    first = sorted(seconds, key=lambda key: -seconds[key])[:SHOWN]
    return tuple((key, f"{seconds[key] / total:.0%}") for key in first)
