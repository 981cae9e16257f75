"""A network's outputs over an image set: in batches that suit the size that it works on."""

import pytest
import torch

from ltkd_cli import models
from ltkd_cli.data import DataSpec, load
from ltkd_cli.inference import BATCH, SMALL, predict
from ltkd_cli.models import ModelSpec
from ltkd_cli.views.policy import Policy


def batches_of(name, data):
    """Images in each forward pass over the test set."""
    spec = ModelSpec(name, len(data.train.class_names), mean=data.mean, std=data.std)
    network, seen = models.build(spec, seed=0), []
    network.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    logits = predict(network, data.test, torch.device("cpu"), policy=Policy(data.views))
    assert len(logits) == sum(seen) == len(data.test.labels)
    return seen


def test_logits_in_bfloat16_differ_a_little_from_those_in_float32():
    data = load(DataSpec())
    spec = ModelSpec("resnet8", len(data.train.class_names), mean=data.mean, std=data.std)
    network, cpu = models.build(spec, seed=0), torch.device("cpu")
    exact, rough = (
        predict(network, data.test, cpu, precision, policy=Policy(data.views))
        for precision in ("float32", "bfloat16")
    )
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, rtol=0.02, atol=0.02)


def test_images_that_the_network_enlarges_count_as_large_ones():
    pytest.importorskip("timm")
    data = load(DataSpec())
    assert max(batches_of("resnet8", data)) == min(BATCH, len(data.test.labels))
    assert max(batches_of("timm/test_vit", data)) == BATCH * SMALL**2 // 160**2
