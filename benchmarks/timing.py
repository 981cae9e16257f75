"""Timing things side by side, and what the machine was."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torchvision


def in_turn(contenders: Mapping[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every contender in every round: A B C A B C ..., after one round of warm-up.

    Taking turns keeps a machine whose speed drifts from favouring anyone.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            started = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def ratios(seconds: Mapping[str, list[float]], of: str, to: str) -> dict[str, float]:
    """Median, lowest and highest of `of` / `to`, round by round."""
    found = [a / b for a, b in zip(seconds[of], seconds[to], strict=True)]
    return {"median": statistics.median(found), "low": min(found), "high": max(found)}


def machine(device: torch.device) -> dict[str, str | int]:
    """Where a number was measured."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else "none"
    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def write(path: Path, results: object) -> None:
    """Writes results as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(
            line.partition(":")[2].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
