"""Validation images: some of every class, held out of the long-tailed training set."""

from __future__ import annotations

from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .imageset import DataSpec
from .longtail import choose_rows

SPLIT = "validation"
"""Name of the split they form."""


class Labelled(Protocol):
    """Images and labels of which some can be taken."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64 [N]."""

    def take(self, rows: NDArray[Any], /) -> Self:
        """Those of some rows, in their order."""


Content = TypeVar("Content", bound=Labelled)


def hold_out(content: Content, spec: DataSpec) -> tuple[Content, Content | None]:
    """What is left to train on, and the validation images that `spec` asks for, if any.

    `content` are the training images with their long tail made already: what is left and what
    is held out are together the very subset that is trained on where nothing is held out. Takes
    `spec.validation` images of every class, but never more than half of it. DataError where no
    class has two images.
    """
    if spec.validation == 0:
        return content, None
    counts = np.bincount(content.labels).tolist()
    held = [min(spec.validation, count // 2) for count in counts]
    if not any(held):
        raise DataError(
            f"No class of {spec.data} has two training images, so none can be held out.",
            "leave out --validation",
        )
    rows = np.sort(choose_rows(content.labels, held, spec.imbalance_seed))
    rest = np.setdiff1d(np.arange(len(content.labels)), rows)
    return content.take(rest), content.take(rows)
