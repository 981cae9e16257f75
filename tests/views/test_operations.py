"""Each operation against torchvision's, on every magnitude of the two ranges."""

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import InterpolationMode

from ltkd_cli.views.operations import CODES, OPERATIONS, apply_operations, magnitude_table

SIZES = ((32, 32), (24, 40), (65, 64))

NEAREST = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
"""Operations that take the nearest pixel: halfway between two, rounding decides which."""

TIES = 0.005
"""Share of pixels that may lie so, where a processor rounds torchvision's coordinates otherwise."""

AS_AUTOAUGMENT, AS_TRIVIALAUGMENT = "autoaugment", "trivialaugment"


def magnitudes_of(name, kind, size):
    if kind == AS_AUTOAUGMENT:
        table = magnitude_table(10, 0.3, (150 / 331 * size[0], 150 / 331 * size[1]), 30, 0.9, 4)
    else:
        table = magnitude_table(31, 0.99, (32.0, 32.0), 135, 0.99, 6)
    own = table[CODES[name]]
    return own if name in ("Posterize", "Solarize") else torch.cat([own, -own])


def expected(image, name, magnitude):
    """What torchvision's AutoAugment does to one image."""
    if name == "Identity":
        return image
    own = v2.AutoAugment()
    return own._apply_image_or_video_transform(
        image, name, magnitude, InterpolationMode.NEAREST, own._fill
    )


@pytest.mark.parametrize("kind", [AS_AUTOAUGMENT, AS_TRIVIALAUGMENT])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_pixels_are_those_of_torchvision(photos, assert_close, name, size, kind):
    magnitudes = magnitudes_of(name, kind, size)
    images = photos(len(magnitudes), *size)
    codes = torch.full((len(magnitudes),), CODES[name])
    reference = torch.stack(
        [expected(image, name, float(m)) for image, m in zip(images, magnitudes, strict=True)]
    )
    found = apply_operations(images, codes, magnitudes)
    if name in NEAREST:
        assert (found != reference).double().mean() <= TIES
    else:
        assert_close(found, reference, differing=0.001)


def test_every_image_has_an_operation_of_its_own(photos):
    images = photos(60, 32, 32)
    codes = torch.arange(60) % len(OPERATIONS)
    magnitudes = torch.linspace(0.1, 0.9, 60).double()
    together = apply_operations(images, codes, magnitudes)
    for place in range(60):
        one = slice(place, place + 1)
        alone = apply_operations(images[one], codes[one], magnitudes[one])
        assert torch.equal(alone, together[one]), OPERATIONS[codes[place]]


@pytest.mark.parametrize("level", [0, 7, 255])
@pytest.mark.parametrize("name", ["AutoContrast", "Equalize", "Contrast", "Color", "Sharpness"])
def test_flat_images_are_no_special_case(name, level):
    image = torch.full((1, 3, 9, 9), level, dtype=torch.uint8)
    changed = apply_operations(image, torch.tensor([CODES[name]]), torch.tensor([0.5]).double())
    assert torch.equal(changed[0], expected(image[0], name, 0.5))


def test_images_of_two_pixels_have_no_inside_to_sharpen(photos):
    image = photos(1, 2, 9)
    changed = apply_operations(image, torch.tensor([CODES["Sharpness"]]), torch.ones(1).double())
    assert torch.equal(changed, image)


@pytest.mark.parametrize("bins", [10, 31])
def test_magnitudes_are_those_of_torchvisions_tables(bins):
    table = magnitude_table(bins, 0.3, (150 / 331 * 24, 150 / 331 * 40), 30, 0.9, 4)
    for name, (magnitudes, _) in v2.AutoAugment._AUGMENTATION_SPACE.items():
        own = magnitudes(bins, 24, 40)
        if own is not None:
            assert torch.equal(table[CODES[name]], own.double()), name


def test_wide_magnitudes_are_those_of_trivialaugment():
    table = magnitude_table(31, 0.99, (32.0, 32.0), 135, 0.99, 6)
    for name, (magnitudes, _) in v2.TrivialAugmentWide._AUGMENTATION_SPACE.items():
        own = magnitudes(31, 32, 32)
        if own is not None:
            assert torch.equal(table[CODES[name]], own.double()), name
