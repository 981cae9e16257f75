"""A training of ResNet-8 on the embedded digits, on the CPU."""

import numpy as np
import torch

from ltkd_cli import models
from ltkd_cli.cache import Cache, CacheWriter, Layout
from ltkd_cli.methods.contract import Task
from ltkd_cli.methods.finding import find
from ltkd_cli.models import ModelSpec
from ltkd_cli.training.loader import open_loader
from ltkd_cli.training.loop import begin, train
from ltkd_cli.training.recipe import Recipe
from ltkd_cli.views.policy import Policy

CPU = torch.device("cpu")
CLASSES, WIDTH = 10, 4
"""Of the caches."""

SHORT = Recipe(epochs=3, batch_size=64, learning_rate=0.05, schedule="cosine")


def cache_of(path, data, views, dtype="float16"):
    """A cache with features, of random outputs for so many views of each training image."""
    train = data.train
    layout = Layout.even(train.labels.numpy(), CLASSES, views, WIDTH, dtype)
    attributes = {
        "fingerprint": train.fingerprint,
        "class_names": list(train.class_names),
        "class_counts": train.class_counts(),
    }
    generator = np.random.default_rng(0)
    logits, features = (
        generator.normal(size=(layout.entries, width)).astype(np.float32)
        for width in (CLASSES, WIDTH)
    )
    with CacheWriter(path, layout, attributes) as writer:
        writer.write(0, logits, features)
        writer.finish()
    return Cache.open(path)


def start(data, recipe, network=None, device=CPU):
    """A training by `ce` at its start, of ResNet-8 or of the given network."""
    if network is None:
        spec = ModelSpec("resnet8", len(data.train.class_names), mean=data.mean, std=data.std)
        network = models.build(spec, seed=0)
    counts = torch.tensor(data.train.class_counts())
    task = Task(counts, data.train.labels, data.groups, network.width)
    return begin(network, find("ce")(task), recipe, device)


def loader_of(data, device=CPU, **options):
    return open_loader(data.train, Policy(data.views), (), frozenset(), device, **options)


def run(training, data, recipe, stop=lambda: False, precision="float32"):
    """All events of a training, on the device of its network."""
    loader = loader_of(data, next(training.network.parameters()).device)
    return list(train(training, loader, recipe, seed=0, precision=precision, stop=stop))


def weights_of(training):
    """Every number of the network in one tensor."""
    return torch.cat([value.flatten().float() for value in training.network.state_dict().values()])
