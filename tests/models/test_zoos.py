"""Networks of torchvision and timm: classifier off, our head on, sizes that fit."""

import sys
from urllib.error import URLError

import pytest
import torch
import torchvision

from ltkd_cli.errors import CheckpointError, UsageError
from ltkd_cli.models import ModelSpec, build, load, save, torchvision_zoo
from ltkd_cli.models.network import _at_least

MEAN, STD = (0.4, 0.4, 0.4), (0.3, 0.3, 0.3)


def network(name, **options):
    return build(ModelSpec(name, 5, mean=MEAN, std=STD, **options), seed=0)


@pytest.fixture
def zoo_folder(tmp_path, monkeypatch):
    """Where torchvision keeps the weights it has downloaded; empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("torchvision/squeezenet1_1", 512),  # its classifier is a convolution
        ("torchvision/mobilenet_v3_small", 1024),  # its classifier has two linear layers
        ("torchvision/shufflenet_v2_x0_5", 1024),
        ("torchvision/resnet18", 512),
        ("torchvision/regnet_x_400mf", 400),
    ],
)
@pytest.mark.parametrize("size", [16, 40])
def test_torchvision_networks_end_in_our_head(name, width, size):
    zoo = network(name).eval()
    outputs = zoo(torch.rand(2, 3, size, size))
    assert zoo.width == width
    assert outputs["features"].shape == (2, width)
    assert outputs["logits"].shape == (2, 5)
    assert torch.equal(zoo.head(outputs["features"]), outputs["logits"])


def test_features_are_what_the_original_classifier_reads():
    original = torchvision.models.get_model("mobilenet_v3_small").eval()
    zoo = network("torchvision/mobilenet_v3_small").eval()
    weights = {k: v for k, v in original.state_dict().items() if "classifier.3" not in k}
    zoo.backbone.load_state_dict(weights)
    seen = []
    original.classifier[3].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = torch.rand(2, 3, 32, 32)
    original((images - 0.4) / 0.3)
    torch.testing.assert_close(zoo(images)["features"], seen[0])


def test_small_images_grow_to_what_the_pooling_needs():
    zoo = network("torchvision/squeezenet1_1").eval()
    shapes = []
    zoo.backbone.register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape[2:]))
    for size in ((8, 16), (17, 17), (32, 20)):
        zoo(torch.rand(1, 3, *size))
    assert shapes == [(17, 34), (17, 17), (32, 20)]


@pytest.mark.parametrize(
    ("minimum", "size", "expected"),
    [(1, (8, 9), (8, 9)), (32, (20, 16), (40, 32)), (32, (31, 47), (32, 49)), (8, (8, 7), (10, 8))],
)
def test_enlarging_keeps_the_aspect_ratio(minimum, size, expected):
    assert _at_least(minimum, *size) == expected


def test_vision_transformers_get_their_one_size():
    parts = torchvision_zoo.backbone("torchvision/vit_b_32", pretrained=False, download=False)
    assert parts.exact == (224, 224)
    assert parts.width == 768


@pytest.mark.parametrize("name", ["googlenet"])
def test_half_statistics_stand_for_the_normalisation_inside_the_network(name):
    parts = torchvision_zoo.backbone(f"torchvision/{name}", pretrained=True, download=False)
    mean, std = (torch.tensor(values)[:, None, None] for values in parts.statistics)
    imagenet_mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    imagenet_std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    assert not parts.layers.transform_input
    parts.layers.transform_input = True
    images = torch.rand(2, 3, 8, 8)
    expected = parts.layers._transform_input((images - imagenet_mean) / imagenet_std)
    torch.testing.assert_close((images - mean) / std, expected)


def test_networks_with_auxiliary_outputs_have_one_output_in_training_too():
    outputs = network("torchvision/googlenet").train()(torch.rand(2, 3, 32, 32))
    assert outputs["logits"].shape == (2, 5)


def test_pretrained_weights_bring_their_own_normalisation(zoo_folder, tmp_path):
    weights = torchvision.models.get_model_weights("squeezenet1_1").DEFAULT
    original = torchvision.models.get_model("squeezenet1_1").state_dict()
    torch.save(original, zoo_folder / weights.url.rpartition("/")[2])
    zoo = network("torchvision/squeezenet1_1", pretrained=True)
    assert zoo.spec.mean == (0.485, 0.456, 0.406)
    assert zoo.spec.std == (0.229, 0.224, 0.225)
    state = zoo.backbone.state_dict()
    assert state
    assert all(torch.equal(original[key], value) for key, value in state.items())


def test_loading_a_pretrained_network_needs_no_download(zoo_folder, tmp_path, monkeypatch):
    weights = torchvision.models.get_model_weights("squeezenet1_1").DEFAULT
    downloaded = zoo_folder / weights.url.rpartition("/")[2]
    torch.save(torchvision.models.get_model("squeezenet1_1").state_dict(), downloaded)
    zoo = network("torchvision/squeezenet1_1", pretrained=True)
    save(zoo, tmp_path / "weights.safetensors")
    downloaded.unlink()
    monkeypatch.setattr(torch.hub, "download_url_to_file", _unreachable)
    again = load(tmp_path / "weights.safetensors")
    assert again.spec == zoo.spec
    assert torch.equal(again.scale, zoo.scale)


def test_a_failed_download_names_the_network_and_the_way_out(zoo_folder, monkeypatch):
    monkeypatch.setattr(torch.hub, "download_url_to_file", _unreachable)
    with pytest.raises(CheckpointError, match="torchvision/resnet18 could not be") as caught:
        network("torchvision/resnet18", pretrained=True)
    assert "no route" in caught.value.problem
    assert "without pretrained weights" in caught.value.hint


def test_timm_networks_end_in_our_head():
    pytest.importorskip("timm")
    zoo = network("timm/test_resnet").eval()
    outputs = zoo(torch.rand(2, 3, 48, 48))
    assert outputs["features"].shape == (2, zoo.width)
    assert torch.equal(zoo.head(outputs["features"]), outputs["logits"])


def test_timm_transformers_are_fed_their_one_size():
    pytest.importorskip("timm")
    zoo = network("timm/test_vit").eval()
    shapes = []
    zoo.backbone.register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape[2:]))
    for size in ((32, 48), (160, 160), (200, 160)):
        assert zoo(torch.rand(1, 3, *size))["logits"].shape == (1, 5)
    assert shapes == [(160, 160)] * 3


@pytest.mark.parametrize("name", ["resnt18", "resnet18.no_such_tag", "hf-hub:someone/resnet18"])
def test_names_that_timm_does_not_know_are_refused(name):
    pytest.importorskip("timm")
    with pytest.raises(UsageError, match="There is no network") as caught:
        network(f"timm/{name}")
    assert name in caught.value.problem


def test_without_timm_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match="not installed") as caught:
        network("timm/resnet18")
    assert caught.value.hint == 'pip install "ltkd[timm]"'


def _unreachable(*_, **__):
    raise URLError("no route")
