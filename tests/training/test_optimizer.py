"""The optimisers that recipes describe, alone and in a training."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from ltkd_cli import models
from ltkd_cli.data import DataSpec, load
from ltkd_cli.events import Step
from ltkd_cli.methods.ce import CrossEntropy
from ltkd_cli.methods.contract import Task
from ltkd_cli.models import ModelSpec
from ltkd_cli.models.network import build
from ltkd_cli.models.stages import freeze
from ltkd_cli.training.loader import open_loader
from ltkd_cli.training.loop import _set_learning_rate, begin, train
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


SGD = Recipe(epochs=1, learning_rate=0.1, momentum=0.7, nesterov=True, weight_decay=0.5)


@pytest.mark.parametrize(
    ("recipe", "of_torch"),
    [
        (
            SGD,
            lambda given: torch.optim.SGD(
                given, lr=0.1, momentum=0.7, nesterov=True, weight_decay=0.5
            ),
        ),
        (
            replace(SGD, optimizer="adamw", nesterov=False),
            lambda given: torch.optim.AdamW(given, lr=0.1, betas=(0.7, 0.999), weight_decay=0.5),
        ),
    ],
    ids=["sgd", "adamw"],
)
def test_two_steps_are_those_of_torch_with_the_momentum_of_the_recipe(recipe, of_torch):
    layer, wanted = nn.Linear(3, 2, bias=False), nn.Linear(3, 2, bias=False)
    wanted.load_state_dict(layer.state_dict())
    optimizers = build_optimizer(layer, nn.Module(), recipe), of_torch(wanted.parameters())
    for gradient in (1.0, -2.0):
        for each, optimizer in zip((layer, wanted), optimizers, strict=True):
            each.weight.grad = torch.full_like(each.weight, gradient)
            optimizer.step()
    torch.testing.assert_close(layer.weight, wanted.weight)


@pytest.mark.parametrize("name", ["timm/test_vit", "torchvision/vit_b_32"])
def test_adamw_leaves_tokens_and_position_embeddings_undecayed(name):
    if name.startswith("timm"):
        pytest.importorskip("timm")
    with torch.device("meta"):
        network = build(ModelSpec(name, 3, mean=(0, 0, 0), std=(1, 1, 1)), 0, download=False)
    optimizer = build_optimizer(network, nn.Module(), ADAMW)
    free = {
        p for group in optimizer.param_groups if not group["weight_decay"] for p in group["params"]
    }
    found = {part for part, p in network.named_parameters() if p in free and p.ndim > 1}
    assert len(found) == 2
    assert all("token" in part or "pos_embed" in part for part in found)


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


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_layer_decay_gives_each_stage_its_share_of_the_rate(optimizer):
    network = models.build(ModelSpec("resnet8", 3, mean=(0, 0, 0), std=(1, 1, 1)), seed=0)
    recipe = Recipe(epochs=1, optimizer=optimizer, learning_rate=0.1, layer_decay=0.5)
    found = build_optimizer(network, nn.Linear(2, 1), recipe)
    share_of = {p: group["share"] for group in found.param_groups for p in group["params"]}
    named = dict(network.named_parameters())
    assert share_of[named["head.weight"]] == share_of[named["head.bias"]] == 1
    assert share_of[named["backbone.stages.2.0.conv1.weight"]] == 0.5
    assert share_of[named["backbone.stages.0.0.norm2.bias"]] == 0.125
    assert share_of[named["backbone.conv.weight"]] == 0.0625
    assert len(share_of) == len(named) + 2


def test_layer_decay_of_a_transformer_goes_by_blocks_as_in_beit():
    pytest.importorskip("timm")
    network = models.build(ModelSpec("timm/test_vit", 3, mean=(0, 0, 0), std=(1, 1, 1)), seed=0)
    recipe = Recipe(epochs=1, optimizer="adamw", layer_decay=0.5)
    found = build_optimizer(network, nn.Module(), recipe)
    share_of = {p: group["share"] for group in found.param_groups for p in group["params"]}
    named = dict(network.named_parameters())
    blocks = len(network.backbone.blocks)
    for number in range(blocks):
        weight = named[f"backbone.blocks.{number}.attn.qkv.weight"]
        assert share_of[weight] == 0.5 ** (blocks - number)
    assert share_of[named["backbone.pos_embed"]] == 0.5 ** (blocks + 1)
    assert share_of[named["head.weight"]] == 1


def test_in_a_step_each_layer_moves_by_its_share():
    """Gradients of 1 and plain SGD: what a weight loses is its learning rate."""
    network = models.build(ModelSpec("resnet8", 3, mean=(0, 0, 0), std=(1, 1, 1)), seed=0)
    recipe = Recipe(epochs=1, learning_rate=0.1, momentum=0, weight_decay=0, layer_decay=0.5)
    optimizer = build_optimizer(network, nn.Module(), recipe)
    _set_learning_rate(optimizer, 0.2)
    before = {name: one.detach().clone() for name, one in network.named_parameters()}
    for one in network.parameters():
        one.grad = torch.ones_like(one)
    optimizer.step()
    lost = {
        name: float((before[name] - p.detach()).mean()) for name, p in network.named_parameters()
    }
    assert lost["head.weight"] == pytest.approx(0.2)
    assert lost["backbone.stages.1.0.conv1.weight"] == pytest.approx(0.05)


def test_what_is_frozen_is_not_trained():
    network = models.build(ModelSpec("resnet8", 3, mean=(0, 0, 0), std=(1, 1, 1)), seed=0)
    freeze(network)
    found = build_optimizer(network, nn.Module(), Recipe(epochs=1, layer_decay=0.5))
    trained = [one for group in found.param_groups for one in group["params"]]
    assert {*map(id, trained)} == {*map(id, network.head.parameters())}
