"""Whether images and teacher outputs are kept in the memory of a GPU.

There no batch waits for the host; but what they take, a training step cannot have.
"""

from __future__ import annotations

from shlex import quote

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from .. import devices
from ..errors import LtkdError
from ..files import in_bytes
from ..runs import Run

CHOICES = ("auto", "always", "never")

AUTO, ALWAYS, _ = CHOICES

SHARED = 0.95
"""Of a GPU's memory; the rest is for what each process has there besides its tensors."""

SPARE = 2**28
"""Bytes that are left free beside the features of a frozen backbone, of which steps need few."""


def decide(
    choice: str,
    data: int,
    network: nn.Module,
    batch: tuple[int, int, int, int],
    precision: str,
    device: torch.device,
) -> bool:
    """Whether a training on batches of shape [B, 3, H, W] keeps its `data` bytes on the device.

    Never on the CPU, where there is no other place. Errors as for `is_resident`.
    """
    if device.type == "cpu":
        return False
    images = torch.zeros(batch, device=device).to(memory_format=torch.channels_last)
    step = bytes_for_step(network, images, precision) if choice == AUTO else 0
    return is_resident(choice, data, step, free_bytes(device))


def is_resident(choice: str, data: int, step: int, free: int) -> bool:
    """Whether `data` bytes of images and outputs are kept on a GPU with `free` bytes.

    `auto` keeps them where that leaves the `step` bytes that a training step needs. Raises
    LtkdError where they are to be kept `always` and do not fit, step or no step.
    """
    if choice == ALWAYS and data > free:
        raise LtkdError(
            f"Images and teacher outputs take {in_bytes(data)}, and {in_bytes(free)} of GPU "
            "memory are free.",
            "--resident never",
        )
    if choice == AUTO:
        return data + step <= free
    return choice == ALWAYS


def bytes_for_step(network: nn.Module, images: Tensor, precision: str) -> int:
    """Estimate of the bytes that a training step on `images` [B, 3, H, W] needs beside them.

    Twice what autograd keeps of the forward pass for the backward pass, because gradients of
    activations and the workspaces of convolutions come on top; then gradient and two moments of
    every weight, as AdamW has them. Computes one forward pass, in eval mode, and leaves the
    network in it.
    """
    kept: dict[int, int] = {}

    def count(saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return saved

    weights = [parameter.untyped_storage() for parameter in network.parameters()]
    network.eval()  # in training mode it would change the statistics of batch normalisation
    with (
        saved_tensors_hooks(count, lambda saved: saved),
        devices.autocast(images.device, precision),
    ):
        outputs = network(images)
    activations = sum(kept.values()) - sum(kept.get(w.data_ptr(), 0) for w in weights)
    del outputs  # until here it held what was counted
    return 2 * activations + 3 * sum(weight.nbytes() for weight in weights)


def free_bytes(device: torch.device) -> int:
    """Memory of a GPU that PyTorch can still hand out to this process."""
    free, total = torch.cuda.mem_get_info(device)
    own = torch.cuda.get_per_process_memory_fraction(device) * total
    left = min(free + torch.cuda.memory_reserved(device), int(own))
    return left - torch.cuda.memory_allocated(device)


def share_gpu(device: torch.device, processes: int) -> None:
    """Gives this process its part of the memory of a GPU that several train on."""
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(SHARED / processes, device)


def out_of_memory(
    run: Run, kept: int, peak: int, batch_size: int, accumulate: int, precision: str
) -> LtkdError:
    """The error for a run that found no memory on its GPU, with the larger cause first.

    Of the `peak` bytes that it had at most, `kept` are images and teacher outputs. Before any
    training step, while a frozen backbone computes features, `batch_size` is 0.
    """
    smaller = run.anew("--precision", "bfloat16") if precision == "float32" else None
    cpu = run.resuming("--device", "cpu")  # which refuses features that a GPU has begun
    if not batch_size:
        return LtkdError(
            f"{run.name} needs more memory than the GPU has: {in_bytes(peak)} for the features of "
            "its frozen backbone.",
            smaller or f"rm -f -- {quote(str(run.path))}/*.partial && {cpu}",
        )
    rest = peak - kept
    problem = (
        f"{run.name} needs more memory than the GPU has: it had {in_bytes(kept)} of images and "
        f"teacher outputs there, and {in_bytes(rest)} for batches of {batch_size} images."
    )
    if kept > rest:
        return LtkdError(problem, run.resuming("--resident", "never"))
    if batch_size == 1:  # of which there is no half
        return LtkdError(problem, smaller or "--model with a smaller network")
    halved = ("--batch-size", str(batch_size // 2), "--accumulate", str(2 * accumulate))
    return LtkdError(problem, run.anew(*halved))
