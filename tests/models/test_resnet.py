"""The residual networks for small images: published sizes and shapes."""

import pytest
import torch
import torch.nn.functional as F

from ltkd_cli.models import ModelSpec, build, names, parameter_count
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
    assert parameter_count(network(name, classes)) == parameters


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


def as_published(weights, images, blocks, convolve):
    """Features [B, D] of the published network, from its weights by name, with running statistics.

    Two 3x3 convolutions a block, each normalised, the first followed by a ReLU; the shortcut is
    added, and a ReLU ends the block. The first block of stages 2 and 3 halves the image.
    """

    def normalised(maps, name):
        mean, variance, scale, shift = (
            weights[f"{name}.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (maps - mean) / (variance + 1e-5) ** 0.5 * scale + shift

    def shortcut(maps, name, halved):
        if not halved:
            return maps
        if convolve:
            shrunk = F.conv2d(maps, weights[f"{name}.0.weight"], stride=2)
            return normalised(shrunk, f"{name}.1")
        zeros = torch.zeros_like(maps[:, : maps.shape[1] // 2, ::2, ::2])
        return torch.cat([zeros, maps[:, :, ::2, ::2], zeros], 1)

    maps = normalised(F.conv2d(images, weights["conv.weight"], padding=1), "norm").clamp(min=0)
    for stage in range(3):
        for block in range(blocks):
            name, halved = f"stages.{stage}.{block}", stage > 0 and block == 0
            kernel = weights[f"{name}.conv1.weight"]
            inner = F.conv2d(maps, kernel, stride=1 + halved, padding=1)
            inner = normalised(inner, f"{name}.norm1").clamp(min=0)
            inner = F.conv2d(inner, weights[f"{name}.conv2.weight"], padding=1)
            inner = normalised(inner, f"{name}.norm2")
            maps = (inner + shortcut(maps, f"{name}.shortcut", halved)).clamp(min=0)
    return maps.mean((2, 3))


@pytest.mark.parametrize("name", ["resnet8", "resnet20", "resnet20-conv"])
def test_features_are_those_of_the_published_network(name):
    layers = network(name).backbone.double().eval()
    for module in layers.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # fresh ones change nothing
            for tensor in (module.running_var, module.weight):
                tensor.data.uniform_(0.5, 1.5)
            for tensor in (module.running_mean, module.bias):
                tensor.data.normal_(0, 0.2)
    images = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    blocks = 1 if name == "resnet8" else 3
    expected = as_published(layers.state_dict(), images, blocks, name.endswith("-conv"))
    torch.testing.assert_close(layers(images), expected)


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
