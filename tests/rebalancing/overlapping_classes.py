"""A small long-tailed problem of four classes, and the strategies applied to it."""

import torch

from ltkd_cli.rebalancing.features import Features, fixed
from ltkd_cli.rebalancing.posthoc import balanced_accuracy
from ltkd_cli.rebalancing.recipes import FAST, resolve
from ltkd_cli.rebalancing.strategies import (
    RETRAINED,
    adjust_head,
    correct_of,
    retrain_head,
)

COUNTS = torch.tensor([40, 12, 6, 3])
WIDTH = 5


def make_head():
    """A linear head with a bias that favours the classes in their order."""
    generator = torch.Generator().manual_seed(1)
    layer = torch.nn.Linear(WIDTH, 4)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(4, WIDTH, generator=generator) * COUNTS[:, None] ** 0.5 / 4)
        layer.bias.copy_(COUNTS.log())
    return layer


def make_features(head):
    """Two views of every image of a long-tailed set whose classes overlap."""
    generator = torch.Generator().manual_seed(2)
    labels = torch.arange(4).repeat_interleave(COUNTS)
    noise = torch.randn(len(labels), 2, WIDTH, generator=generator)
    centres = 3 * torch.nn.functional.normalize(head.weight.detach())
    return Features(centres[labels][:, None] + noise, labels)


def logits_of(layer, features):
    return layer(features.flat()).detach()


def adjusted(strategy, head, features, strength=None):
    return adjust_head(strategy, head, features, COUNTS, strength)


def retrained(strategy, head, features, seed=0, **given):
    """The new head after a re-training by the fast recipe with some fields replaced."""
    how = resolve(strategy, FAST, given, len(features.labels))
    return finished(retrain_head(strategy, head, fixed(features), COUNTS, how, seed))


def rebalanced(strategy, head, features):
    if strategy in RETRAINED:
        return retrained(strategy, head, features)
    return adjusted(strategy, head, features)


def finished(generator):
    """What a generator returns in the end."""
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


def accuracy(head, features):
    return balanced_accuracy(correct_of(head, features), features.labels)
