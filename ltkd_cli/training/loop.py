"""The training loop: one for teachers, students and label-only baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel

from .. import devices, distributed
from ..events import EpochEnd, Step
from ..methods.contract import Method
from ..models import Network, load_tensors
from ..outputs import Outputs
from .averaging import update_average
from .divergence import LossCheck
from .features import FeatureLoader
from .loader import Loader
from .optimizer import build_optimizer
from .recipe import Recipe
from .sampling import batches_of, whole_batches
from .stopwatch import Stopwatch


@dataclass
class Training:
    """All state of a training; what `snapshot` holds is enough to continue bit for bit."""

    network: Network
    method: Method
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    epoch: int = 0
    """Epochs that are done."""
    batch: int = 0
    """Batches of the running epoch that are done."""
    sums: dict[str, Tensor] = field(default_factory=dict)
    """Loss terms of the running epoch, each times its images."""
    losses: LossCheck | None = field(default=None, init=False)
    """Of the running epoch."""
    forward: Callable[[Tensor], Outputs] = field(init=False)
    """What computes the outputs for images: the network, or what is compiled of it."""

    def __post_init__(self) -> None:
        self.forward = self.network

    def snapshot(self) -> dict[str, Any]:
        """Tensors and plain values only, so that it loads with weights_only."""
        device = self.device
        return {
            "network": self.network.state_dict(),
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "epoch": self.epoch,
            "batch": self.batch,
            "sums": self.sums,
            "random": torch.get_rng_state(),
            "random_gpu": [torch.cuda.get_rng_state(device)] if device.type == "cuda" else [],
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Takes up a snapshot of the same settings."""
        load_tensors(self.network, snapshot["network"])
        self.method.load_state_dict(snapshot["method"])
        self.optimizer.load_state_dict(snapshot["optimizer"])
        if self.average:
            load_tensors(self.average, snapshot["average"])
        self.epoch, self.batch = snapshot["epoch"], snapshot["batch"]
        self.sums = {name: value.to(self.device) for name, value in snapshot["sums"].items()}
        torch.set_rng_state(snapshot["random"].cpu())
        states = snapshot["random_gpu"]
        if states and self.device.type == "cuda":
            own = min(self.device.index or 0, len(states) - 1)  # 0.1.0 kept those of all GPUs
            torch.cuda.set_rng_state(states[own].cpu(), self.device)

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return next(self.network.parameters()).device

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
    optimizer = build_optimizer(network, method, recipe)
    average = AveragedModel(network) if recipe.average_decay else None
    return Training(network, method, optimizer, average)


def train(
    training: Training,
    loader: Loader | FeatureLoader,
    recipe: Recipe,
    seed: int,
    precision: str,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Step | EpochEnd]:
    """Trains to the end of the recipe, or until `stop()` between two steps; yields as it goes.

    Several processes train one network: each computes the gradient for its part of a batch, and
    all take the step of the whole batch.

    Raises Diverged, naming the batch, where a loss is not finite (see LossCheck for when), and
    CacheDamaged before an epoch where the file of a cache was changed.
    """
    method, optimizer = training.method, training.optimizer
    for epoch in range(training.epoch, recipe.epochs):
        loader.check_unchanged()
        sampled = loader.sample_epoch(method.sampler, seed, epoch)
        if recipe.drop_last:
            sampled = whole_batches(sampled, recipe.batch_size)
        batches = batches_of(len(sampled.rows), recipe.batch_size, distributed.size())
        images_in_epoch = min(batches * recipe.batch_size, len(sampled.rows))
        losses = LossCheck(epoch, sampled.rows, recipe, precision, loader.device)
        training.losses = losses
        watch, images_done = Stopwatch(), 0
        training.network.train()
        method.train()

        first = training.batch  # not 0 in an epoch that was interrupted
        source = loader.batches(sampled, recipe.batch_size, first, epoch, recipe.epochs)
        for number, (images, batch) in enumerate(watch.timed(source), first):
            _set_learning_rate(optimizer, recipe.learning_rate_at(epoch + number / batches))

            with devices.autocast(images.device, precision):
                outputs = _in_float32(training.forward(images))
            terms = method(outputs, batch)
            in_batch = min(recipe.batch_size, len(sampled.rows) - number * recipe.batch_size)
            sums = distributed.add_up({name: t.detach() * len(images) for name, t in terms.items()})
            losses.add(torch.stack(list(sums.values())).sum() / in_batch, number)
            loss = torch.stack(list(terms.values())).sum()
            # The mean over processes, and the sum over the batches of a step, is its images' mean.
            in_step = _images_in_step(number, images_in_epoch, recipe)
            loss = loss * (len(images) * distributed.size() / in_step)
            loss.backward()  # type: ignore[no-untyped-call]

            step_is_complete = (number + 1) % recipe.accumulate == 0 or number + 1 == batches
            if step_is_complete:
                distributed.average(_gradients_of(optimizer))
                if recipe.clip_norm:
                    clip_grad_norm_(_parameters_of(optimizer), recipe.clip_norm)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                if training.average:
                    update_average(training.average, training.network, recipe.average_decay)

            training.batch = number + 1
            _add_to(training.sums, sums)
            images_done += in_batch
            yield Step(
                epoch, recipe.epochs, number + 1, batches, images_done, watch.seconds, watch.waited
            )
            if step_is_complete and stop():
                losses.finish()
                return

        losses.finish()
        means = {name: float(total) / images_in_epoch for name, total in training.sums.items()}
        seconds = watch.seconds
        training.epoch, training.batch, training.sums = epoch + 1, 0, {}
        yield EpochEnd(
            epoch + 1,
            recipe.epochs,
            means,
            recipe.learning_rate_at(epoch),
            images_done / seconds,
            watch.waited / seconds,
        )


def _in_float32(outputs: Outputs) -> Outputs:
    """Only networks compute in bfloat16; no loss does."""
    return {name: value.float() for name, value in outputs.items()}


def _images_in_step(number: int, images: int, recipe: Recipe) -> int:
    """Images of the step that batch `number` belongs to; `images` are those of the epoch."""
    first = number - number % recipe.accumulate
    return min(recipe.accumulate * recipe.batch_size, images - first * recipe.batch_size)


def _set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Gives every parameter its share of the learning rate: all of it, but for layer decay."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("share", 1.0)


def _gradients_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [each.grad for each in _parameters_of(optimizer) if each.grad is not None]


def _parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """All parameters that the optimiser moves."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _add_to(sums: dict[str, Tensor], more: dict[str, Tensor]) -> None:
    """Adds the sums over a batch to those over the images so far."""
    for name, total in more.items():
        sums[name] = sums[name] + total if name in sums else total
