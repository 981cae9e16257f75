"""The authors' training step and ltkd's, side by side on the same batches, in float32.

    git clone https://github.com/kaidic/LDAM-DRW
    python -m benchmarks.cifar_files FOLDER FILES
    python -m benchmarks.official_steps LDAM-DRW FILES --data FOLDER --epochs 1

Says whether both have the same long-tailed subset, pixel by pixel and in the same order; how far
their learning rates are apart in any of 200 epochs; and how far one step of theirs is from one of
ltkd's, for every step of a training of a ResNet-32 by cross-entropy under the recipe `ldam`: both
begin each step with the weights, statistics and momentum of ltkd's training, and take the batch
that it draws. Sums in another order round otherwise, so the authors' own step, once more with its
numbers in another order in memory, shows how near two equal steps come.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import timing
from benchmarks.official_code import surround
from ltkd_cli import models
from ltkd_cli.data import Data, DataSpec, cifar, load
from ltkd_cli.events import EpochEnd
from ltkd_cli.methods.contract import Task
from ltkd_cli.methods.finding import find
from ltkd_cli.training.loader import open_loader
from ltkd_cli.training.loop import Training, begin, train
from ltkd_cli.training.recipe import Recipe, resolve
from ltkd_cli.views.policy import Policy

RESULTS = Path(__file__).parent / "results" / "official-steps.json"

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
"""What the authors' script normalises with."""


def main() -> None:
    """Compares, prints and keeps what was found."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("code", type=Path, help="folder of the authors' code")
    parser.add_argument("files", type=Path, help="folder with cifar-10-batches-py")
    parser.add_argument("--data", required=True, help="the image folder that FILES was made from")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    output = arguments.output.resolve()
    data = load(DataSpec(str(Path(arguments.data).resolve()), imbalance=100.0))
    files = arguments.files.resolve()
    surround("float32", compiled=False)
    code = arguments.code.resolve()
    sys.path.insert(0, str(code))
    os.chdir(code)
    import cifar_train as authors  # type: ignore[import-not-found]

    recipe = resolve("ldam", {})
    found: dict[str, Any] = {
        "same_subset": same_subset(authors, files, data),
        "largest_difference_of_rates": difference_of_rates(authors, recipe),
    }
    steps = list(side_by_side(authors, data, recipe, arguments.epochs))
    found |= {"steps": steps, **timing.machine(torch.device("cpu"))}
    print(f"subset the same: {found['same_subset']}")
    print(f"learning rates differ by at most {found['largest_difference_of_rates']:.1e}")
    losses = max(abs(one["ours"] - one["theirs"]) for one in steps)
    print(f"{len(steps)} steps: losses differ by at most {losses:.1e}")
    for name, of in (("apart", "ltkd's and theirs"), ("theirs_apart", "theirs in two orders")):
        values = [one[name] for one in steps]
        print(
            f"changes of the weights, {of}: apart by {median(values):.1e} of their norm (median), "
            f"{max(values):.1e} at most"
        )
    timing.write(output, found)


def same_subset(authors: Any, files: Path, data: Data) -> bool:
    """Whether the authors' subset has the very pixels and labels of ltkd's, in its order."""
    theirs = authors.IMBALANCECIFAR10(root=str(files), imb_factor=0.01, rand_number=0)
    ours = np.stack([*data.train.images.each(torch.arange(len(data.train.labels)))])
    pixels = np.array_equal(ours, theirs.data.transpose(0, 3, 1, 2))
    return pixels and data.train.labels.tolist() == [int(label) for label in theirs.targets]


def difference_of_rates(authors: Any, recipe: Recipe) -> float:
    """The largest difference of the learning rates of any epoch."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1)
    differences = []
    for epoch in range(recipe.epochs):
        authors.adjust_learning_rate(optimizer, epoch, argparse.Namespace(lr=0.1))
        differences.append(abs(optimizer.param_groups[0]["lr"] - recipe.learning_rate_at(epoch)))
    return max(differences)


def side_by_side(
    authors: Any, data: Data, recipe: Recipe, epochs: int
) -> Iterator[dict[str, float]]:
    """Losses of each step, and how far its changes are apart, as a share of their norm."""
    training = ours(data, recipe)
    theirs = [Theirs(authors, layout) for layout in (torch.contiguous_format, torch.channels_last)]
    seen: dict[str, Tensor] = {}

    def before(_: nn.Module, given: tuple[Tensor]) -> None:
        seen["images"] = given[0]
        for one in theirs:
            one.take_over(training)

    def after(_: nn.Module, given: tuple[Any, Any], terms: dict[str, Tensor]) -> None:
        seen.update(labels=given[1].labels, loss=terms["label"].detach())

    training.network.register_forward_pre_hook(before)
    training.method.register_forward_hook(after)
    loader = open_loader(data.train, Policy(data.views), (), frozenset(), torch.device("cpu"))
    for event in train(training, loader, recipe, seed=0, precision="float32"):
        if isinstance(event, EpochEnd):
            if event.epoch == epochs:
                return
            continue
        begun = flat(theirs[0].network)
        loss, _ = (one.step(seen["images"], seen["labels"], event.epoch) for one in theirs)
        after_ours, after_theirs, after_again = map(
            flat, (training.network, *(one.network for one in theirs))
        )
        change = (after_theirs - begun).norm()
        yield {
            "ours": float(seen["loss"]),
            "theirs": loss,
            "apart": float((after_ours - after_theirs).norm() / change),
            "theirs_apart": float((after_again - after_theirs).norm() / change),
        }


class Theirs:
    """The authors' network with its optimiser, in one order of its numbers in memory."""

    def __init__(self, authors: Any, layout: torch.memory_format) -> None:
        self.authors, self.layout = authors, layout
        self.network = authors.models.resnet32(num_classes=10).to(memory_format=layout)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), 0.1, momentum=0.9, weight_decay=2e-4
        )
        self.criterion = nn.CrossEntropyLoss()
        self.mean, self.std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))

    def take_over(self, training: Training) -> None:
        """Gives the network, of the same layers in the same order, the state of a training."""
        state = [*training.network.parameters(), *training.network.backbone.buffers()]
        own = [*self.network.parameters(), *self.network.buffers()]
        for one, other in zip(own, state, strict=True):
            one.data.copy_(other.data)
        pairs = zip(self.network.parameters(), training.network.parameters(), strict=True)
        for one, other in pairs:
            momentum = training.optimizer.state[other].get("momentum_buffer")
            if momentum is not None:
                self.optimizer.state[one]["momentum_buffer"] = momentum.clone()

    def step(self, images: Tensor, labels: Tensor, epoch: int) -> float:
        """One step, as in the authors' script; its loss."""
        self.authors.adjust_learning_rate(self.optimizer, epoch, argparse.Namespace(lr=0.1))
        self.network.train()
        pixels = ((images - self.mean) / self.std).contiguous(memory_format=self.layout)
        loss = self.criterion(self.network(pixels), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())


def ours(data: Data, recipe: Recipe) -> Training:
    """ltkd's training at its start."""
    spec = models.ModelSpec("resnet32", 10, mean=cifar.MEAN, std=cifar.STD)
    network = models.build(spec, seed=0)
    counts = torch.tensor(data.train.class_counts())
    task = Task(counts, data.train.labels, data.groups, network.width)
    return begin(network, find("ce")(task), recipe, torch.device("cpu"))


def flat(network: nn.Module) -> Tensor:
    """All weights in one tensor."""
    return torch.cat([weight.detach().flatten() for weight in network.parameters()])


if __name__ == "__main__":
    main()
