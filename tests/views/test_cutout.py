import numpy as np
import pytest
import torch

from ltkd_cli.views.rectangles import blacken
from ltkd_cli.views.steps.cutout import Cutout


def slow_cutout(image, box):
    """The mask of the source: a square around the centre, cut off at the border."""
    height, width = image.shape[1:]
    top, left, bottom, right = box.tolist()
    mask = np.ones((height, width), np.uint8)
    mask[np.clip(top, 0, height) : np.clip(bottom, 0, height),
         np.clip(left, 0, width) : np.clip(right, 0, width)] = 0  # fmt: skip
    return image * torch.from_numpy(mask)


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_blackens_the_square_of_the_source(photos, draws_of, size):
    step = Cutout(16)
    images = photos(200, *size)
    boxes = step.boxes(draws_of(step, 200), size)
    expected = [slow_cutout(image, box) for image, box in zip(images, boxes, strict=True)]
    assert torch.equal(blacken(images, boxes), torch.stack(expected))


def test_any_pixel_is_the_centre_equally_often(draws_of, assert_frequencies):
    boxes = Cutout(6).boxes(draws_of(Cutout, 40_000), (8, 12))
    assert set((boxes[:, 2:] - boxes[:, :2]).flatten().tolist()) == {6}
    centre = boxes[:, :2] + 3
    assert_frequencies(centre[:, 0] * 12 + centre[:, 1], [1.0] * 96)
