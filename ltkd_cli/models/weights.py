"""Networks with weights that were made elsewhere: from a file, or the zoo's with their head."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor

from ..data.failures import name_some
from ..errors import CheckpointError, Command, UsageError, command
from . import checkpoint, resnet, statedict, timm_zoo, torchvision_zoo
from .network import Network, backbone_of, build, load_tensors, own_randomness
from .spec import Channels, ModelSpec
from .statedict import Matched, StateDict, WeightFile

TOLERANCE = 1e-3
"""Of the largest logit, by which two ways of computing the same network may differ."""

_SMALLEST = 32
"""Pixels along a side of the images that two networks are compared on."""


@dataclass(frozen=True)
class Weights:
    """Weights of one network, from a file or fetched from its zoo."""

    model: str
    source: str
    """Path of the file, or the name of the network in its zoo."""
    sha256: str
    """Of the file; where they were fetched, of the same tensors as safetensors."""
    matched: Matched
    statistics: tuple[Channels, Channels] | None
    """Mean and std of the images that they expect; None where those of the data set apply."""
    pretrained: bool
    """Whether the layers have the shape of the zoo's pretrained network."""
    own: Network | None = None
    """The whole network, where ltkd wrote the file."""
    stated: tuple[Channels, Channels] | None = None
    """Mean and std that the user gives in place of `statistics`."""

    @property
    def classes(self) -> int:
        """Of the head; 0 where there is none."""
        return len(self.matched.head.get("weight", ()))

    def record(self) -> dict[str, str]:
        """Where they came from and what the user says of them, for a cache."""
        fetched, matched = self.source == self.model, self.matched
        source = self.source if fetched else Path(self.source).name
        found = {"source": source, "sha256": self.sha256}
        found |= {"part": matched.part, "prefix": matched.prefix}
        if matched.elsewhere:
            found["head"] = str(matched.elsewhere)
        return found | self._statistics()

    def options(self) -> list[str]:
        """The options of `teach` that name them."""
        if self.source == self.model:
            return ["--model", self.model, "--pretrained"]
        stated = [part for name, text in self._statistics().items() for part in (f"--{name}", text)]
        return ["--model", self.model, "--weights", self.source, *stated]

    def own_head(self, images: Sequence[str] = (), remark: str = "") -> Command:
        """The command that trains a head for these images on them; `images` are its options."""
        return command("teach", *self.options(), *images, "--freeze", remark=remark)

    def require_head(self, images: Sequence[str] = ()) -> None:
        """CheckpointError where they have no head; `images` are options for its advice."""
        if self.own is None and not self.matched.head:
            raise _without_head(self, images)

    def _statistics(self) -> dict[str, str]:
        """Mean and std as text, if the user gave them."""
        texts = [",".join(map(repr, values)) for values in self.stated or ()]
        return dict(zip(("mean", "std"), texts, strict=False))

    def normalised(self, mean: Channels, std: Channels) -> Weights:
        """The same, trained with images that were normalised by mean and std.

        UsageError for a file of ltkd's, which holds them.
        """
        if self.own is not None:
            raise UsageError(
                f"{self.source} holds the mean and the std of its network.",
                "leave out --mean and --std",
            )
        return self if (mean, std) == self.statistics else replace(self, stated=(mean, std))


def read(path: Path, model: str) -> Weights:
    """The weights in a file, matched with a network; an empty `model` is what ltkd's file says.

    UsageError for a network that does not exist, CheckpointError for a file that cannot be read
    or is not of this network.
    """
    file = statedict.read(path)
    own = checkpoint.load(path, file.data) if checkpoint.is_own(file.data) else None
    if own is not None:
        return _of_own(file, own, model)
    if not model:
        raise UsageError(
            f"{path} does not say which network its weights are of.",
            "--model torchvision/NAME, timm/NAME or a name such as resnet32",
        )
    return _matched(file, model)


def fetch(model: str) -> Weights:
    """The zoo's weights of a network with their head; errors as for `read`."""
    backbone_of(replace(_blank(model), pretrained=True))  # UsageError for one that does not exist
    zoo = torchvision_zoo if model.startswith(torchvision_zoo.PREFIX) else timm_zoo
    tensors = {name: one.contiguous() for name, one in zoo.pretrained_weights(model).items()}
    digest = hashlib.sha256(to_safetensors({n: one.clone() for n, one in tensors.items()}))
    return _matched(WeightFile(Path(model), digest.hexdigest(), {"": tensors}, b""), model)


def whole_network(
    weights: Weights, mean: Channels, std: Channels, images: Sequence[str] = ()
) -> Network:
    """The network with the head that its weights bring along, on the CPU.

    Mean and std are those of the data set, for weights that expect no others; `images` are the
    options that name it, for advice. CheckpointError where they have no head, or where the
    network's own library computes other logits from them.
    """
    if weights.own is not None:
        return weights.own
    weights.require_head(images)
    head = weights.matched.head
    spec = ModelSpec(weights.model, weights.classes, mean=mean, std=std)
    network = network_with(spec, weights, seed=0)
    network.head.load_state_dict(head)
    if weights.pretrained:
        _check_original(weights, network, images)
    return network


def network_with(spec: ModelSpec, weights: Weights, seed: int) -> Network:
    """A network with these weights in its backbone, and a new head that follows from the seed.

    The spec says all else; the images are normalised as the weights expect it.
    """
    mean, std = weights.stated or weights.statistics or (spec.mean, spec.std)
    spec = replace(spec, mean=mean, std=std, pretrained=weights.pretrained)
    network = build(spec, seed, download=False)
    load_tensors(network.backbone, weights.matched.backbone)
    return network


def _of_own(file: WeightFile, own: Network, model: str) -> Weights:
    spec = own.spec
    if model and model != spec.name:
        raise CheckpointError(
            f"{file.path} holds weights of {spec.name}, not of {model}.", f"--model {spec.name}"
        )
    backbone = own.backbone.state_dict()
    matched = Matched("", "backbone.", backbone, own.head.state_dict(), ())
    statistics = (spec.mean, spec.std)
    return Weights(
        spec.name, str(file.path), file.sha256, matched, statistics, spec.pretrained, own
    )


def _matched(file: WeightFile, model: str) -> Weights:
    spec = _blank(model)
    parts = backbone_of(spec)

    def rename(tensors: StateDict) -> StateDict:
        if model.startswith(timm_zoo.PREFIX):
            return timm_zoo.renamed(tensors, parts.layers)
        return tensors if spec.pretrained else resnet.renamed(tensors)

    names = (parts.classifier,) if parts.classifier else ()
    expected = parts.layers.state_dict()
    matched = statedict.match(file, expected, parts.width, names, rename)
    return Weights(model, str(file.path), file.sha256, matched, parts.statistics, spec.pretrained)


def _without_head(weights: Weights, images: Sequence[str]) -> CheckpointError:
    """The error about weights that have no head, or several that it may be."""
    source, found = weights.source, weights.matched
    parts = name_some([part for part in found.parts if part])
    if found.beside:
        layers = name_some([str(layer) for layer in found.beside])
        problem = (
            f"{source} has several linear heads ({layers}) for the features of {weights.model}"
        )
    else:
        problem = (
            f"{source} has no linear head for the features of {weights.model}: it holds a backbone "
            f"alone, or ends in something else{f'; its parts are {parts}' if parts else ''}"
        )
    return CheckpointError(f"{problem}.", weights.own_head(images))


def _blank(model: str, classes: int = 1) -> ModelSpec:
    """A spec of the network in the shape of its zoo's pretrained weights, if it has a zoo."""
    zeros, ones = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    pretrained = model not in resnet.names()
    return ModelSpec(model, classes, mean=zeros, std=ones, pretrained=pretrained)


def _check_original(weights: Weights, network: Network, named: Sequence[str]) -> None:
    """CheckpointError unless the library's own network computes the same from these weights.

    Some networks do more behind their features than one linear layer.
    """
    original = _original(weights, network)
    side = max(network.minimum, _SMALLEST)
    height, width = network.exact or (side, side)
    images = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), own_randomness(0):
        logits = network.eval().head(network.backbone(images))
        wanted = original.eval()(images) if original is not None else None
    network.train()
    if not (isinstance(wanted, Tensor) and _close(logits, wanted)):
        raise CheckpointError(
            f"{weights.model} ends in more than one linear layer, so its own head cannot be used.",
            weights.own_head(named),
        )


def _close(logits: Tensor, wanted: Tensor) -> bool:
    """Whether both are the logits of one network, as far as rounding goes."""
    if logits.shape != wanted.shape:
        return False
    return bool((logits - wanted).abs().max() <= TOLERANCE * (1 + wanted.abs().max()))


def _original(weights: Weights, network: Network) -> torch.nn.Module | None:
    """The library's own network with the weights; None where it has others besides."""
    name, classifier = weights.model, backbone_of(_blank(weights.model)).classifier
    zoo = torchvision_zoo if name.startswith(torchvision_zoo.PREFIX) else timm_zoo
    original = zoo.original(name, weights.classes)
    head = {f"{classifier}.{key}": one for key, one in weights.matched.head.items()}
    missing, unexpected = original.load_state_dict(
        {**weights.matched.backbone, **head}, strict=False
    )
    surplus = [each for each in unexpected if each != f"{classifier}.bias"]
    return None if missing or surplus or not classifier else original
