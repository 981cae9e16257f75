"""The forward pass by torch.compile; by the plain network where that fails."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from .. import devices
from ..events import Note, Warned
from ..models import load_tensors
from ..outputs import Outputs
from .loader import Loader
from .loop import Training
from .recipe import Recipe

_TRIED_STEPS = 3  # with CUDA graphs the first warms up, the second records, the third replays


def compile_network(
    training: Training, loader: Loader, recipe: Recipe, precision: str
) -> Note | Warned:
    """Has torch.compile compute the forward pass of full batches; tells how that went.

    First one batch goes forwards and backwards a few times, and the network is put back as it
    was. Where that fails, for want of a C++ compiler for instance, the plain network trains.
    Weights, their names and what is saved are those of the plain network either way.
    """
    network, started = training.network.train(), time.perf_counter()
    sampled = loader.sample_epoch(training.method.sampler, seed=0, epoch=0)
    images, _ = next(loader.batches(sampled, recipe.batch_size, start=0, epoch=0, epochs=1))
    # A CUDA graph would overwrite gradients that batches add up for one step.
    graphs = images.is_cuda and recipe.accumulate == 1
    before = {name: value.clone() for name, value in network.state_dict().items()}
    try:
        with _quiet(), torch.random.fork_rng([images.device] if images.is_cuda else []):
            torch.compiler.reset()  # the networks of earlier runs count towards a limit
            mode = "reduce-overhead" if graphs else None
            compiled = torch.compile(network, dynamic=False, mode=mode)
            for _ in range(_TRIED_STEPS):
                with devices.autocast(images.device, precision):
                    outputs = compiled(images)
                torch.autograd.backward([value.float().sum() for value in outputs.values()])
    except Exception as error:  # compilers fail in every way there is
        name = network.spec.name
        return Warned(f"{name} cannot be compiled and trains as it is ({_reason(error)})")
    finally:
        load_tensors(network, before)
        network.zero_grad(set_to_none=True)

    size = len(images)

    def forward(images: Tensor) -> Outputs:
        known = len(images) == size  # the short last batch would be compiled anew
        outputs: Outputs = (compiled if known else network)(images)
        return outputs

    training.forward = forward
    return Note(f"{network.spec.name} is compiled, in {time.perf_counter() - started:.0f} s")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps torch.compile's warnings from the screen; a failure is an exception as well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def _reason(error: Exception) -> str:
    """Kind and first line of an error, or of the error behind it in a compiler."""
    cause = getattr(error, "inner_exception", error)
    lines = str(cause).strip().splitlines() or [""]
    return f"{type(cause).__name__}: {lines[0]}"
