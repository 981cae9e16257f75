"""The optimisers that recipes describe, alone and in a training."""

import pytest
import torch
from torch import nn

from ltkd_cli import models
from ltkd_cli.data import DataSpec, load
from ltkd_cli.events import Step
from ltkd_cli.methods.ce import CrossEntropy
from ltkd_cli.methods.contract import Task
from ltkd_cli.models import ModelSpec
from ltkd_cli.training.loader import open_loader
from ltkd_cli.training.loop import begin, train
from ltkd_cli.training.optimizer import build_optimizer
from ltkd_cli.training.recipe import Recipe
from ltkd_cli.views.policy import Policy

CPU = torch.device("cpu")
ADAMW = Recipe(epochs=2, batch_size=64, optimizer="adamw", learning_rate=1e-3, weight_decay=0.05)


class Layers(nn.Module):
    """A convolution, a norm and a linear layer, all numbers at 1."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(2)
        self.linear = nn.Linear(2, 2)
        for parameter in self.parameters():
            nn.init.ones_(parameter)


def after_a_step_without_gradient(recipe):
    """Each parameter's first number: 1 less what weight decay takes."""
    network, method = Layers(), nn.Linear(2, 1)
    nn.init.ones_(method.weight)
    nn.init.ones_(method.bias)
    optimizer = build_optimizer(network, method, recipe)
    named = [*network.named_parameters(), *method.named_parameters("projector")]
    for _, parameter in named:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return {name: parameter.flatten()[0].item() for name, parameter in named}


def test_sgd_decays_every_parameter_also_those_of_the_method():
    recipe = Recipe(epochs=1, learning_rate=0.1, weight_decay=0.5)
    values = after_a_step_without_gradient(recipe).values()
    assert list(values) == pytest.approx([0.95] * len(values))


def test_adamw_leaves_norms_and_biases_undecayed():
    recipe = Recipe(epochs=1, optimizer="adamw", learning_rate=0.1, weight_decay=0.5)
    found = after_a_step_without_gradient(recipe)
    decayed = {name for name, value in found.items() if value == pytest.approx(0.95)}
    assert decayed == {"conv.weight", "linear.weight", "projector.weight"}
    assert {value for name, value in found.items() if name not in decayed} == {1.0}


@pytest.fixture(scope="module")
def digits():
    return load(DataSpec())


def start(data, recipe):
    spec = ModelSpec("resnet8", len(data.train.class_names), mean=data.mean, std=data.std)
    network = models.build(spec, seed=0)
    counts = torch.tensor(data.train.class_counts())
    task = Task(counts, data.train.labels, data.groups, network.width)
    return begin(network, CrossEntropy(task), recipe, CPU)


def steps(training, data, recipe, stop=lambda: False):
    loader = open_loader(data.train, Policy(data.views), (), frozenset(), CPU)
    events = train(training, loader, recipe, seed=0, precision="float32", stop=stop)
    return [event for event in events if isinstance(event, Step)]


def weights_of(training):
    return torch.cat([value.flatten().float() for value in training.network.state_dict().values()])


def test_adamw_stopped_on_the_way_goes_on_to_the_same_weights_bit_for_bit(digits):
    whole = start(digits, ADAMW)
    done = len(steps(whole, digits, ADAMW))
    stops = iter(range(1, done + 1))
    first, second = start(digits, ADAMW), start(digits, ADAMW)
    steps(first, digits, ADAMW, stop=lambda: next(stops) == done // 2)
    second.restore(first.snapshot())
    steps(second, digits, ADAMW)
    assert torch.equal(weights_of(second), weights_of(whole))


def test_with_drop_last_an_epoch_has_whole_batches_only(digits):
    images = len(digits.train.labels)
    assert images % 64 > 1
    seen = {}
    for drop_last in (False, True):
        recipe = Recipe(epochs=1, batch_size=64, drop_last=drop_last)
        seen[drop_last] = steps(start(digits, recipe), digits, recipe)[-1].images
    assert seen == {False: images, True: images // 64 * 64}
