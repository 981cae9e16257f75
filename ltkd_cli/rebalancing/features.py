"""Features to re-train a classifier on: computed once, or of new views in every epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ..data import ImageSet
from ..models import Network
from ..training.features import FeatureSource, each
from ..views.policy import Policy, to_float
from ..views.reader import Reader, Request, read


@dataclass(frozen=True)
class Features:
    """Features [R, V, D], on the CPU, of V views of some images, and their labels [R]."""

    values: Tensor
    labels: Tensor

    def flat(self) -> Tensor:
        """Features [R V, D], the views of an image one after the other."""
        return self.values.flatten(0, 1)

    def labels_of_views(self) -> Tensor:
        """Labels [R V] of the same."""
        return self.labels.repeat_interleave(self.values.shape[1])


def fixed(features: Features) -> FeatureSource:
    """Features that were computed before."""
    values = features.values
    return each(features.labels, values.shape[1], lambda rows, views: values[rows, views])


def drawn_anew(
    network: Network,
    images: ImageSet,
    policy: Policy,
    device: torch.device,
    *,
    moving_statistics: bool,
) -> FeatureSource:
    """Features of new views in every epoch, by a network whose weights stay as they are.

    With `moving_statistics` its batch normalisation takes up the statistics of each batch, and
    normalises by the batch, as in training; all other layers work as in evaluation. The network
    itself is changed then.
    """

    reader = None if images.images.ready else Reader(images.images, policy, device)

    def of(requests: Sequence[Request]) -> Iterator[Tensor]:
        for drawn in read(images.images, requests, policy, device, reader):
            network.eval()
            for layer in network.modules():
                if moving_statistics and isinstance(layer, _BatchNorm):
                    layer.train()
            with torch.no_grad():
                features: Tensor = network(to_float(drawn.images))["features"]
            network.eval()
            yield features

    return FeatureSource(images.labels, None, of)
