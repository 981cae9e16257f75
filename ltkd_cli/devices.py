"""Which device and which number format a command computes with."""

from __future__ import annotations

import contextlib
import ctypes

import torch

from . import distributed
from .errors import UsageError

_MAPPED_FROM, _TRIMMED_FROM = -3, -1  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h

PRECISIONS = ("auto", "float32", "bfloat16")


def choose_device(name: str) -> torch.device:
    """The device called `auto` (the first GPU, else the CPU), `cpu`, `cuda` or `cuda:N`.

    UsageError where it does not exist, or where this PyTorch cannot compute on it; `auto` is the
    CPU then.
    """
    if name.startswith("cuda:") and distributed.size() > 1:
        raise UsageError(
            f"torchrun has begun {distributed.size()} processes, and each takes the GPU of its own "
            "number.",
            "--device cuda",
        )
    gpu = f"cuda:{distributed.local_rank()}"  # several functions of torch.cuda want the number
    if name == "auto":
        alone = distributed.size() == 1  # else all must choose alike
        works = torch.cuda.is_available() and not (alone and _why_not(gpu))
        name = gpu if works else "cpu"
    try:
        device = torch.device(gpu if name == "cuda" else name)
    except RuntimeError:
        raise UsageError(f"There is no device {name!r}.", "--device cpu") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"Device {name!r} is not supported; cpu and cuda are.", "--device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise UsageError(
            f"Device {name!r} is not there: PyTorch sees {count} GPUs.", "--device cpu"
        )
    if device.type == "cuda" and (why := _why_not(str(device))):
        raise UsageError(f"PyTorch cannot compute on device {name!r}: {why}.", "--device cpu")
    return device


def open_device(name: str) -> torch.device:
    """`choose_device`, with this process made ready to compute on it for long.

    On a GPU, float32 is float32: by default PyTorch would convolve in TensorFloat-32, which keeps
    10 bits of the 23 behind the point.
    """
    device = choose_device(name)
    distributed.join(device)
    if device.type == "cpu":
        _keep_freed_memory()
    else:
        torch.backends.cudnn.allow_tf32 = False
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """`float32` or `bfloat16`; `auto` is bfloat16 where the device has instructions for it."""
    if name not in PRECISIONS:
        raise UsageError(
            f"There is no precision {name!r}; there are {', '.join(PRECISIONS)}.",
            "--precision float32",
        )
    if name != "auto":
        return name
    return "bfloat16" if _gains_from_bfloat16(device) else "float32"


def _why_not(name: str) -> str:
    """Why nothing can be computed on a GPU: it may be too old for PyTorch. Empty where it can."""
    try:
        (torch.ones(1, device=name) + 1).item()
    except torch.OutOfMemoryError:
        return ""  # others use it, which is to be told where memory is needed
    except RuntimeError as error:
        return str(error).strip().partition("\n")[0].rstrip(".")
    return ""


def _keep_freed_memory() -> None:
    """Lets the process keep the memory of one step for the next, where its C library is glibc.

    By default glibc hands large blocks back and asks for them anew, page by page, in every
    step: about a tenth of the time of a small network on a CPU.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    set_option(_MAPPED_FROM, 1 << 30)
    set_option(_TRIMMED_FROM, (1 << 31) - 1)


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """The context in which a network's forward pass runs."""
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def describe(device: torch.device) -> str:
    """Name of the device for people and for provenance, with the number of processes."""
    number = f"{distributed.size()} x " if distributed.size() > 1 else ""
    if device.type == "cuda":
        named = device if not number else device.type
        return f"{number}{named} ({torch.cuda.get_device_name(device)})"
    threads = torch.get_num_threads()
    return f"{number}cpu ({threads} thread{'s' if threads > 1 else ''})"


def _gains_from_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.version.hip is not None or torch.cuda.get_device_properties(device).major >= 8
    # torch.cpu.get_capabilities says the same in public, but only in newer releases.
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
