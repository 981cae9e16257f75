import pytest
import torch
import torchvision.transforms.v2.functional as F

from ltkd_cli.views.policy import Policy, view
from ltkd_cli.views.steps.crop import shift


@pytest.mark.parametrize(("pad_y", "pad_x"), [(4, 4), (3, 5), (40, 1), (30, 100)])
def test_pixels_are_those_of_torchvisions_padding_and_crop(photos, pad_y, pad_x):
    images = photos(50, 24, 40)
    top, left = torch.arange(50) % (2 * pad_y + 1), torch.arange(50) * 7 % (2 * pad_x + 1)
    expected = [
        F.crop(F.pad(image, [pad_x, pad_y]), int(y), int(x), 24, 40)
        for image, y, x in zip(images, top, left, strict=True)
    ]
    assert torch.equal(shift(images, top, left, pad_y, pad_x), torch.stack(expected))


@pytest.mark.parametrize(("spec", "most"), [("crop", 4), ("crop:2", 2), ("crop:9", 9)])
def test_every_shift_comes_equally_often(assert_frequencies, spec, most):
    count = 20_000
    pixel = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    pixel[:, :, 16, 16] = 255
    rows = torch.arange(count)
    seen = view(pixel.expand(count, 3, 32, 32), rows, torch.ones_like(rows), Policy(spec))
    place = seen[:, 0].flatten(1).argmax(1)
    for offset in (place // 32, place % 32):
        assert_frequencies(offset - 16 + most, [1.0] * (2 * most + 1))
