"""Weights that other programs could have written, for the digits and for other classes."""

from urllib.error import URLError

import torch
import torchvision

from ltkd_cli.models import ModelSpec, build

NETWORK = "torchvision/shufflenet_v2_x0_5"
SMALL = "resnet8"


def write(path, classes=10, seed=0):
    """A state dict of `NETWORK` as a DataParallel trainer writes it."""
    torch.manual_seed(seed)
    _save(torchvision.models.get_model("shufflenet_v2_x0_5", num_classes=classes), path)


def write_parts(path, **others):
    """The same, with backbone and classifier in parts of their own, as classifier-balancing has it.

    `others` are further parts.
    """
    write(path)
    tensors = torch.load(path, weights_only=True)["state_dict"]
    head = {name: tensors.pop(name) for name in [*tensors] if ".fc." in name}
    torch.save({"state_dict_best": {"feat_model": tensors, "classifier": head}, **others}, path)


def write_small(path, classes=1000, seed=0):
    """The same of `SMALL`, which takes a moment to compute."""
    spec = ModelSpec(SMALL, classes, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    _save(build(spec, seed), path)


def _save(network, path):
    tensors = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": tensors}, path)


def in_zoo(folder, monkeypatch, classes=1000):
    """Makes `folder` what torchvision has downloaded: its weights of `NETWORK`."""
    monkeypatch.setenv("TORCH_HOME", str(folder))
    found = torchvision.models.get_model_weights("shufflenet_v2_x0_5").DEFAULT
    place = folder / "hub" / "checkpoints"
    place.mkdir(parents=True)
    network = torchvision.models.get_model("shufflenet_v2_x0_5", num_classes=classes)
    torch.save(network.state_dict(), place / found.url.rpartition("/")[2])


def unreachable(*_, **__):
    """What torchvision gets of a network that is not there."""
    raise URLError("no route")
