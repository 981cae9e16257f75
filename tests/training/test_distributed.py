"""Several processes take the steps that one takes, where no layer looks at other images."""

import multiprocessing
import os
import socket

import pytest
import torch
from small_training import CPU, start
from torch import nn

from ltkd_cli import distributed
from ltkd_cli.data import DataSpec, load
from ltkd_cli.errors import Diverged
from ltkd_cli.events import EpochEnd
from ltkd_cli.training.loader import open_loader
from ltkd_cli.training.loop import train
from ltkd_cli.training.recipe import Recipe
from ltkd_cli.training.sampling import batches_of
from ltkd_cli.views.policy import Policy

SPAWN = multiprocessing.get_context("spawn")

STEPS = Recipe(epochs=2, batch_size=64, learning_rate=0.05, clip_norm=0.5, accumulate=2)
"""The last batch of the digits has 5 images, which two processes do not share evenly."""


class Plain(nn.Module):
    """Without batch normalisation, so that an image's outputs depend on no other image."""

    width = 8

    def __init__(self):
        super().__init__()
        self.below = nn.Conv2d(3, self.width, 3, padding=1)
        self.above = nn.Linear(self.width, 10)

    def forward(self, images):
        features = self.below(images).relu().mean((2, 3))
        return {"logits": self.above(features), "features": features}


def trained(spoil=False):
    """Weights after two epochs, and the losses and speeds that were told of."""
    data = load(DataSpec())
    torch.manual_seed(0)
    training = start(data, STEPS, network=Plain())
    loader = open_loader(data.train, Policy("crop"), (), frozenset(), CPU)
    if spoil and distributed.rank() == distributed.size() - 1:
        loader.labels[:] = 0
        training.method.forward = lambda outputs, batch: {"label": outputs["logits"].sum() / 0}
    try:
        events = list(train(training, loader, STEPS, seed=0, precision="float32"))
    except Diverged as error:
        return error.problem
    terms = [event.terms for event in events if isinstance(event, EpochEnd)]
    weights = torch.cat([each.detach().flatten() for each in training.network.parameters()])
    return weights.tolist(), terms


def one_of(rank, size, port, pipe):
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size), MASTER_ADDR="localhost",
        MASTER_PORT=str(port),
    )  # fmt: skip
    torch.set_num_threads(1)
    distributed.join(CPU)
    found = trained(), trained(spoil=True)
    pipe.send((*found, distributed.agreed(lambda: rank == 1)(), distributed.shared(rank)))


@pytest.fixture(scope="module")
def together():
    """What each of two processes has in the end, without and with a bad loss, and shares."""
    size = 2
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    pipes, processes = [], []
    for rank in range(size):
        ours, theirs = SPAWN.Pipe(duplex=False)
        process = SPAWN.Process(target=one_of, args=(rank, size, port, theirs))
        process.start()
        pipes.append(ours)
        processes.append(process)
    found = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join()
    return found


def test_two_processes_end_with_the_weights_and_losses_of_one(together):
    weights, terms = trained()
    assert str(together[0][0]) == str(together[1][0])  # bit for bit the same in both
    shared_weights, shared_terms = together[0][0]
    torch.testing.assert_close(torch.tensor(shared_weights), torch.tensor(weights))
    for one, other in zip(terms, shared_terms, strict=True):
        assert other == pytest.approx(one, rel=1e-4)


def test_a_loss_that_is_not_finite_in_one_process_stops_all(together):
    said = [spoiled for _, spoiled, _, _ in together]
    assert said[0] == said[1]
    assert "batch 1 in epoch 1 is not finite" in said[0]


def test_what_one_is_asked_or_the_first_knows_all_know(together):
    assert [(agreed, first) for _, _, agreed, first in together] == [(True, 0)] * 2


@pytest.mark.parametrize(
    ("draws", "processes", "batches"),
    [(128, 1, 2), (129, 1, 2), (130, 1, 3), (133, 2, 3), (131, 2, 2), (133, 3, 2), (5, 3, 1)],
)
def test_a_last_batch_has_two_images_for_each_process_or_is_left_out(draws, processes, batches):
    assert batches_of(draws, 64, processes) == batches


def test_one_process_alone_waits_for_nobody():
    assert (distributed.size(), distributed.rank(), distributed.local_rank()) == (1, 0, 0)
    with distributed.first_alone():
        assert distributed.shared("value") == "value"
    values = torch.arange(5)
    assert distributed.own(values) is values
    assert not distributed.agreed(lambda: False)()
