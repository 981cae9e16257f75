"""The training loop: one for teachers, students and label-only baselines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..errors import Diverged
from ..events import EpochEnd, Step
from ..methods.contract import Batch, Method
from ..models import Network
from ..outputs import Outputs
from .loader import Loader
from .mixing import mixed_terms
from .recipe import Recipe
from .sampling import batches_of


@dataclass
class Training:
    """All state of a training; what `snapshot` holds is enough to continue bit for bit."""

    network: Network
    method: Method
    optimizer: torch.optim.SGD
    average: AveragedModel | None
    epoch: int = 0
    """Epochs that are done."""
    batch: int = 0
    """Batches of the running epoch that are done."""
    sums: dict[str, Tensor] = field(default_factory=dict)
    """Loss terms of the running epoch, each times its images."""
    forward: Callable[[Tensor], Outputs] = field(init=False)
    """What computes the network's outputs for images: the network, or what is compiled of it."""

    def __post_init__(self) -> None:
        self.forward = self.network

    def snapshot(self) -> dict[str, Any]:
        """Tensors and plain values only, so that it loads with weights_only."""
        return {
            "network": self.network.state_dict(),
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "epoch": self.epoch,
            "batch": self.batch,
            "sums": self.sums,
            "random": torch.get_rng_state(),
            "random_gpu": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Takes up a snapshot of the same settings."""
        self.network.load_state_dict(snapshot["network"])
        self.method.load_state_dict(snapshot["method"])
        self.optimizer.load_state_dict(snapshot["optimizer"])
        if self.average:
            self.average.load_state_dict(snapshot["average"])
        self.epoch, self.batch = snapshot["epoch"], snapshot["batch"]
        device = next(self.network.parameters()).device
        self.sums = {name: value.to(device) for name, value in snapshot["sums"].items()}
        torch.set_rng_state(snapshot["random"].cpu())
        if snapshot["random_gpu"]:
            torch.cuda.set_rng_state_all([state.cpu() for state in snapshot["random_gpu"]])

    @property
    def final_network(self) -> Network:
        """The network to keep: the moving average where there is one."""
        network = self.average.module if self.average else self.network
        assert isinstance(network, Network)
        return network


def begin(network: Network, method: Method, recipe: Recipe, device: torch.device) -> Training:
    """A training at its start, on `device`."""
    network.to(device).to(memory_format=torch.channels_last)
    method.to(device)
    optimizer = torch.optim.SGD(
        [*network.parameters(), *method.parameters()],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    average = None
    if recipe.average_decay:
        average = AveragedModel(network)
    return Training(network, method, optimizer, average)


def train(
    training: Training,
    loader: Loader,
    recipe: Recipe,
    seed: int,
    precision: str,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Step | EpochEnd]:
    """Trains to the end of the recipe, or until `stop()` after any step; yields as it goes.

    Raises Diverged, naming the batch, when the loss is not finite: at once on the CPU, at
    the end of the epoch on a GPU, where looking at every step would slow every step.
    """
    for epoch in range(training.epoch, recipe.epochs):
        draws = loader.draws(training.method.sampler, seed, epoch)
        batches = batches_of(len(draws.rows), recipe.batch_size)
        images_in_epoch = min(batches * recipe.batch_size, len(draws.rows))
        started, waited, seen, bad = time.perf_counter(), 0.0, 0, _NoBadBatch(loader.device)
        training.network.train()
        training.method.train()
        source = loader.batches(draws, recipe.batch_size, training.batch, epoch, recipe.epochs)
        while training.batch < batches:
            asked = time.perf_counter()
            images, batch = next(source)
            waited += time.perf_counter() - asked
            _set_learning_rate(training, recipe, epoch + training.batch / batches)
            terms = _forward_backward(training, images, batch, recipe, seed, precision, batches)
            bad.look(terms, training.batch)
            _add(training.sums, terms, len(batch.rows))
            training.batch += 1
            if _completes_step(training.batch, batches, recipe.accumulate):
                _update(training, recipe)
                if loader.device.type == "cpu":
                    bad.check(epoch, draws.rows, recipe.batch_size)
            seen += len(batch.rows)
            seconds = time.perf_counter() - started
            yield Step(epoch, recipe.epochs, training.batch, batches, seen, seconds, waited)
            if stop() and _completes_step(training.batch, batches, recipe.accumulate):
                return
        bad.check(epoch, draws.rows, recipe.batch_size)
        terms_now = {k: float(v) / images_in_epoch for k, v in training.sums.items()}
        seconds = time.perf_counter() - started
        training.epoch, training.batch, training.sums = epoch + 1, 0, {}
        rate = recipe.learning_rate_at(epoch)
        yield EpochEnd(epoch + 1, recipe.epochs, terms_now, rate, seen / seconds, waited / seconds)


class _NoBadBatch:
    """Remembers, on the device, the first batch whose loss was not finite."""

    def __init__(self, device: torch.device) -> None:
        self.first = torch.full((), -1, device=device)

    def look(self, terms: dict[str, Tensor], number: int) -> None:
        finite = torch.isfinite(torch.stack(list(terms.values())).sum())
        self.first = torch.where(finite | (self.first >= 0), self.first, number)

    def check(self, epoch: int, rows: Tensor, batch_size: int) -> None:
        number = int(self.first)
        if number < 0:
            return
        inside = rows[number * batch_size : (number + 1) * batch_size].tolist()
        shown = ", ".join(map(str, inside[:8])) + (", ..." if len(inside) > 8 else "")
        raise Diverged(
            f"The loss of batch {number + 1} in epoch {epoch + 1} is not finite "
            f"(training rows {shown}).",
            "--learning-rate 0.02, or --clip-norm 1, or --precision float32",
        )


def _forward_backward(
    training: Training,
    images: Tensor,
    batch: Batch,
    recipe: Recipe,
    seed: int,
    precision: str,
    batches: int,
) -> dict[str, Tensor]:
    stream = (seed, training.epoch, training.batch)
    terms = mixed_terms(training.forward, training.method, images, batch, recipe, precision, stream)
    loss = torch.stack(list(terms.values())).sum()
    torch.autograd.backward(loss / _parts_of_step(training.batch, batches, recipe.accumulate))
    return {name: term.detach() for name, term in terms.items()}


def _update(training: Training, recipe: Recipe) -> None:
    if recipe.clip_norm:
        parameters = [p for group in training.optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)
    training.optimizer.step()
    training.optimizer.zero_grad(set_to_none=True)
    if training.average:
        _update_average(training.average, training.network, recipe.average_decay)


def _update_average(average: AveragedModel, network: Network, decay: float) -> None:
    """Moves every number of the average towards the network's; the first time all the way.

    The average's own `update_parameters` does the same, but has each step wait for a GPU.
    """
    blend = get_ema_multi_avg_fn(decay if average.n_averaged else 0.0)  # type: ignore[no-untyped-call]
    pairs = list(zip(_numbers(average.module), _numbers(network), strict=True))
    for floating in (True, False):
        if chosen := [pair for pair in pairs if pair[0].is_floating_point() == floating]:
            blend([kept for kept, _ in chosen], [new for _, new in chosen], None)
    average.n_averaged += 1  # on the CPU: nothing to wait for


def _numbers(network: nn.Module) -> Iterator[Tensor]:
    return chain(network.parameters(), network.buffers())


def _completes_step(done: int, batches: int, accumulate: int) -> bool:
    return done % accumulate == 0 or done == batches


def _parts_of_step(number: int, batches: int, accumulate: int) -> int:
    """How many batches share the step that batch `number` belongs to; the last may have fewer."""
    first = number - number % accumulate
    return min(accumulate, batches - first)


def _set_learning_rate(training: Training, recipe: Recipe, epoch: float) -> None:
    for group in training.optimizer.param_groups:
        group["lr"] = recipe.learning_rate_at(epoch)


def _add(sums: dict[str, Tensor], terms: dict[str, Tensor], images: int) -> None:
    for name, term in terms.items():
        sums[name] = sums[name] + term * images if name in sums else term * images
