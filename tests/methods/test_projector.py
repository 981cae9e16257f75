import torch
from torch import nn

from ltkd_cli.methods.projector import seeded_linear


def test_same_seed_gives_the_same_layer_and_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    first, second = seeded_linear(5, 3, 7), seeded_linear(5, 3, 7)
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)
    assert torch.equal(before, torch.random.get_rng_state())


def test_other_seed_gives_another_layer():
    assert not torch.equal(seeded_linear(5, 3, 7, 0).weight, seeded_linear(5, 3, 7, 1).weight)


def test_begins_with_the_spread_of_a_torch_layer():
    ours, theirs = seeded_linear(64, 2000, 0), nn.Linear(64, 2000)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert mine.shape == other.shape
        assert mine.requires_grad
        assert abs(mine.detach().std() / other.detach().std() - 1) < 0.1
        assert mine.detach().abs().max() <= 1 / 8
