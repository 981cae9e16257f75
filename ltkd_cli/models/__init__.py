"""Networks by name, and the files that hold their weights."""

from .checkpoint import load, save, weights_sha256
from .network import Network, build, load_tensors, parameter_count
from .resnet import names
from .spec import ModelSpec

__all__ = [
    "ModelSpec",
    "Network",
    "build",
    "load",
    "load_tensors",
    "names",
    "parameter_count",
    "save",
    "weights_sha256",
]
