import pytest
import torch
import torchvision.transforms.v2.functional as F

from ltkd_cli.views.steps.rotation import Rotation, rotate


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_pixels_are_those_of_torchvision(photos, size):
    angles = torch.linspace(-180, 180, 61).double()
    images = photos(61, *size)
    expected = [F.rotate(image, float(a)) for image, a in zip(images, angles, strict=True)]
    differing = (rotate(images, angles) != torch.stack(expected)).any(1).double().mean()
    assert differing < 0.002  # a source half-way between two pixels


def test_angles_are_spread_evenly_to_both_sides(draws_of, assert_uniform):
    assert_uniform(Rotation(15.0).angles(draws_of(Rotation, 20_000)), -15, 15)
