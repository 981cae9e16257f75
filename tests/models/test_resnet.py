"""The residual networks for small images: published sizes and shapes."""

import pytest
import torch
import torch.nn.functional as F

from ltkd_cli.models import ModelSpec, build, describe, names
from ltkd_cli.models.resnet import _PaddedShortcut

HALF = (0.5, 0.5, 0.5)


def network(name, classes=10):
    return build(ModelSpec(name, classes, mean=HALF, std=HALF), seed=0)


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [
        ("resnet8", 10, 75_290),
        ("resnet14", 10, 172_506),
        ("resnet20", 10, 269_722),
        ("resnet32", 10, 464_154),
        ("resnet44", 10, 658_586),
        ("resnet56", 10, 853_018),
        ("resnet110", 10, 1_727_962),
        ("resnet8-conv", 10, 78_042),
        ("resnet14-conv", 10, 175_258),
        ("resnet20-conv", 100, 278_324),
        ("resnet32-conv", 100, 472_756),
        ("resnet44-conv", 10, 661_338),
        ("resnet56-conv", 100, 861_620),
        ("resnet110-conv", 100, 1_736_564),
        ("resnet8x4", 100, 1_233_540),
        ("resnet32x4", 100, 7_433_860),
    ],
)
def test_has_as_many_parameters_as_published(name, classes, parameters):
    assert describe(network(name, classes)).parameters == parameters


def test_every_name_has_its_published_size_tested():
    sizes = test_has_as_many_parameters_as_published.pytestmark[0].args[1]
    assert [name for name, _, _ in sizes] == names()


@pytest.mark.parametrize(("name", "width"), [("resnet8", 64), ("resnet8x4", 256)])
@pytest.mark.parametrize("size", [(8, 8), (9, 13), (16, 16), (32, 32), (64, 48)])
def test_takes_images_of_any_size_from_8_pixels_up(name, width, size):
    outputs = network(name, classes=5)(torch.rand(2, 3, *size))
    assert outputs["logits"].shape == (2, 5)
    assert outputs["features"].shape == (2, width)


@pytest.mark.parametrize("size", [(8, 8), (7, 5)])
def test_padded_shortcut_is_every_second_pixel_between_zero_channels(size):
    maps = torch.rand(2, 16, *size, dtype=torch.float64)
    expected = F.pad(maps[:, :, ::2, ::2], (0, 0, 0, 0, 8, 8))
    assert torch.equal(_PaddedShortcut(16, 32)(maps), expected)


def test_shortcuts_have_parameters_only_where_the_name_says_so():
    found = {
        name: [
            value.numel() for key, value in network(name).named_parameters() if "shortcut" in key
        ]
        for name in ("resnet20", "resnet20-conv", "resnet8x4")
    }
    assert not found["resnet20"]
    assert sum(found["resnet20-conv"]) == 2_752
    assert len(found["resnet8x4"]) == 9  # a convolution, a scale and a shift in each stage


def test_stages_halve_the_image_twice():
    maps = network("resnet8").backbone.stages(torch.rand(1, 16, 32, 32))
    assert maps.shape == (1, 64, 8, 8)


@pytest.mark.parametrize(
    ("name", "fan"),
    [("resnet20", "fan_in"), ("resnet20-conv", "fan_out"), ("resnet8x4", "fan_out")],
)
def test_convolutions_start_kaiming_normal(name, fan):
    conv = network(name).backbone.stages[2][0].conv1.weight
    outputs, inputs = conv.shape[:2]
    expected = (2 / (9 * (inputs if fan == "fan_in" else outputs))) ** 0.5
    standard_error = expected / (2 * conv.numel()) ** 0.5
    assert abs(float(conv.detach().std()) - expected) < 4 * standard_error


def test_trains_on_a_batch_of_two():
    resnet = network("resnet8")
    before = resnet.backbone.norm.running_mean.clone()
    F.cross_entropy(resnet(torch.rand(2, 3, 8, 8))["logits"], torch.tensor([0, 1])).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in resnet.parameters())
    assert not torch.equal(resnet.backbone.norm.running_mean, before)


def test_channels_last_changes_no_result():
    resnet = network("resnet8").double().eval()
    images = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    expected = resnet(images)["logits"]
    found = resnet.to(memory_format=torch.channels_last)(
        images.to(memory_format=torch.channels_last)
    )["logits"]
    torch.testing.assert_close(found, expected)


def test_several_networks_run_as_one_under_vmap():
    networks = [
        build(ModelSpec("resnet8", 10, mean=HALF, std=HALF), seed).eval() for seed in range(3)
    ]
    stacked = torch.func.stack_module_state(networks)
    images = torch.rand(4, 3, 16, 16)

    def logits(parameters, buffers):
        return torch.func.functional_call(networks[0], (parameters, buffers), images)["logits"]

    found = torch.func.vmap(logits)(*stacked)
    torch.testing.assert_close(found, torch.stack([one(images)["logits"] for one in networks]))
