"""A network's scores on the test set of its data."""

from __future__ import annotations

import torch

from ..data import Data
from ..evaluate import Scores, score
from ..export import predict
from ..models import Network


def score_on_test(
    network: Network, data: Data, device: torch.device, precision: str = "float32"
) -> Scores:
    """Scores on the untouched test images; float32 wherever the numbers are kept."""
    return score(
        predict(network, data.test, device, precision),
        data.test.labels,
        data.groups,
        data.train.class_names,
        data.train.class_counts(),
    )
