"""A training's forward pass by torch.compile; by the plain network where that fails."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .. import devices
from ..events import Note, Warned
from ..models import Network
from ..outputs import Outputs
from .loader import Loader
from .loop import Training
from .recipe import Recipe

TRIED_STEPS = 3
"""Of CUDA graphs the first step warms up, the second records and the third replays."""


def compile_forward(
    training: Training, loader: Loader, recipe: Recipe, precision: str
) -> Note | Warned:
    """Has torch.compile compute the full batches of a training from now on; says how it went.

    One batch is tried forwards and backwards first, which leaves no trace in the training. If
    that fails, for want of a C++ compiler for instance, the plain network goes on, and a
    Warned says why. The weights, their names and what is saved are those of the plain network.
    """
    network = training.network.train()
    draws = loader.draws(training.method.sampler, seed=0, epoch=0)
    images, _ = next(loader.batches(draws, recipe.batch_size, start=0, epoch=0, epochs=1))
    started = time.perf_counter()
    try:
        compiled = _compiled(network, recipe, images.device)
        with _put_back_afterwards(network, images.device), _quiet():
            for _ in range(TRIED_STEPS):
                _try(compiled, images, precision)
    except Exception as error:  # torch.compile's errors are of every kind there is
        problem = f"{network.spec.name} cannot be compiled here and trains as it is"
        return Warned(f"{problem} ({_reason(error)})")
    training.forward = _for_batches_of(len(images), compiled, network)
    return Note(f"{network.spec.name} is compiled, in {time.perf_counter() - started:.0f} s")


def _compiled(
    network: Network, recipe: Recipe, device: torch.device
) -> Callable[[Tensor], Outputs]:
    """The network, to be compiled at its first call: on a GPU into CUDA graphs."""
    torch.compiler.reset()  # what was compiled for trainings before counts towards a limit
    # A graph would overwrite the gradients of the batch before, where batches share a step.
    graphs = device.type == "cuda" and recipe.accumulate == 1
    compiled: Callable[[Tensor], Outputs] = torch.compile(
        network,
        dynamic=False,
        mode="reduce-overhead" if graphs else None,
        options=_vectors_for(network) if device.type == "cpu" else None,
    )
    return compiled


def _vectors_for(network: Network) -> dict[str, Any]:
    """Vectors of 256 bits where 512 would be half empty: maps of 16 channels in bfloat16."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return {}
    norms = (module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    return {"cpp.simdlen": 256} if any(norm.num_features % 32 for norm in norms) else {}


def _for_batches_of(
    size: int, compiled: Callable[[Tensor], Outputs], network: Network
) -> Callable[[Tensor], Outputs]:
    """`compiled` for batches of `size` images; `network` for the short last one of an epoch."""

    def forward(images: Tensor) -> Outputs:
        outputs: Outputs = (compiled if len(images) == size else network)(images)
        return outputs

    return forward


def _try(forward: Callable[[Tensor], Outputs], images: Tensor, precision: str) -> None:
    with devices.autocast(images.device, precision):
        outputs = forward(images)
    torch.autograd.backward([value.float().sum() for value in outputs.values()])
    if images.is_cuda:
        torch.cuda.synchronize(images.device)


@contextmanager
def _put_back_afterwards(network: Network, device: torch.device) -> Iterator[None]:
    """Buffers, gradients and random numbers end as they began, whatever happens in the body."""
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        network.zero_grad(set_to_none=True)
        for name, buffer in network.named_buffers():
            buffer.copy_(before[name])


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps torch.compile's own remarks from the screen; a failure is an exception as well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def _reason(error: Exception) -> str:
    """Kind and first line of an error; of what a compiler behind torch.compile said, if one did."""
    cause = getattr(error, "inner_exception", error)
    lines = str(cause).strip().splitlines() or [""]
    return f"{type(cause).__name__}: {lines[0]}"
