"""Building networks: normalisation, precision, seeds, and what is refused."""

import dataclasses
import json
import random

import numpy as np
import pytest
import torch

from ltkd_cli.errors import UsageError
from ltkd_cli.models import ModelSpec, build, parameter_count

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def spec(name="resnet8", classes=10, **options):
    return ModelSpec(name, classes, **{"mean": MEAN, "std": STD, **options})


def test_images_are_normalised_channel_by_channel():
    network = build(spec(), seed=0).eval()
    images = torch.rand(4, 3, 8, 8)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    expected = network.backbone((images - mean) / std)
    torch.testing.assert_close(network(images)["features"], expected)


def test_normalisation_keeps_the_memory_layout():
    network = build(spec(), seed=0)
    seen = []
    network.backbone.conv.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(torch.rand(2, 3, 8, 8).to(memory_format=torch.channels_last))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("head", ["linear", "cosine:20"])
def test_outputs_are_float32_and_the_head_exact_under_autocast(head):
    network = build(spec(head=head, projection=16), seed=0).eval()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = network(torch.rand(2, 3, 16, 16))
    assert {value.dtype for value in outputs.values()} == {torch.float32}
    assert torch.equal(network.head(outputs["features"]), outputs["logits"])


def test_features_are_pooled_in_full_precision_under_autocast():
    network = build(spec(), seed=0).eval()
    with torch.autocast("cpu", torch.bfloat16):
        features = network(torch.rand(2, 3, 16, 16))["features"]
    assert not torch.equal(features.bfloat16().float(), features)


def test_double_precision_stays_double():
    outputs = build(spec(), seed=0).double()(torch.rand(2, 3, 8, 8, dtype=torch.float64))
    assert {value.dtype for value in outputs.values()} == {torch.float64}


@pytest.mark.parametrize("name", ["resnet8", "torchvision/shufflenet_v2_x0_5"])
def test_same_seed_gives_the_same_weights_and_another_seed_others(name):
    first, again, other = (build(spec(name), seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_building_leaves_the_global_generators_alone():
    def states():
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002

    before = states()
    build(spec(), seed=0)
    assert states() == before


def test_a_projection_is_counted_and_is_the_width():
    network = build(spec(projection=32), seed=0)
    assert parameter_count(network) == 75_290 - 650 + (64 * 32 + 32) + (32 * 10 + 10)
    assert network.width == 32


def test_spec_survives_a_dictionary():
    original = spec(head="cosine:20", projection=8, pretrained=False)
    assert ModelSpec.from_dict(json.loads(json.dumps(dataclasses.asdict(original)))) == original


@pytest.mark.parametrize(
    "changes", [{"classes": "10"}, {"projection": 1.5}, {"mean": [0.5]}, {"depth": 3}]
)
def test_spec_refuses_a_dictionary_of_something_else(changes):
    with pytest.raises((TypeError, ValueError)):
        ModelSpec.from_dict({**dataclasses.asdict(spec()), **changes})


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("resnett20", "resnet20"),
        ("resnet50", "torchvision/resnet50"),
        ("torchvision/resnet19", "torchvision/resnet18"),
        ("torchvision/mobilenetv2", "torchvision/mobilenet_v2"),
    ],
)
def test_unknown_names_are_answered_with_close_ones(name, close):
    with pytest.raises(UsageError, match=f"There is no network '{name}'; close to it: ") as caught:
        build(spec(name), seed=0)
    assert close in caught.value.problem
    assert "resnet32" in caught.value.hint


def test_a_name_like_no_other_is_refused_too():
    with pytest.raises(UsageError, match=r"There is no network 'qqq'\."):
        build(spec("qqq"), seed=0)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"classes": 0}, "at least one class"),
        ({"projection": -1}, "cannot be -1 wide"),
        ({"std": (0.2, 0.0, 0.2)}, "cannot normalise"),
        ({"mean": (0.2, float("nan"), 0.2)}, "cannot normalise"),
        ({"pretrained": True}, "no pretrained weights for resnet8"),
    ],
)
def test_specs_that_cannot_be_built_are_refused(options, problem):
    with pytest.raises(UsageError, match=problem):
        build(spec(**options), seed=0)
