"""Networks by name, and the files that hold their weights."""

from .checkpoint import load, save, weights_sha256
from .network import Description, Network, build, describe
from .resnet import names
from .spec import ModelSpec

__all__ = [
    "Description",
    "ModelSpec",
    "Network",
    "build",
    "describe",
    "load",
    "names",
    "save",
    "weights_sha256",
]
