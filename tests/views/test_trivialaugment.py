import torch
from torchvision.transforms import v2

from ltkd_cli.views.operations import CODES, OPERATIONS, magnitude_table
from ltkd_cli.views.steps.trivialaugment import TrivialAugment

DRAWN = 60_000


def drawn(draws_of):
    return TrivialAugment().operations(draws_of(TrivialAugment, DRAWN))


def test_every_operation_of_torchvision_comes_equally_often(draws_of, assert_frequencies):
    codes, _ = drawn(draws_of)
    own = v2.TrivialAugmentWide._AUGMENTATION_SPACE
    assert_frequencies(codes, [float(name in own) for name in OPERATIONS])


def test_every_magnitude_and_sign_comes_equally_often(draws_of, assert_frequencies):
    codes, magnitudes = drawn(draws_of)
    table = magnitude_table(31, 0.99, (32.0, 32.0), 135, 0.99, 6)
    for name in ("ShearX", "TranslateY", "Rotate", "Sharpness", "Solarize"):
        own = magnitudes[codes == CODES[name]]
        places = torch.searchsorted(table[CODES[name]].sort().values, own.abs())
        assert_frequencies(places, [1.0] * 31)
        if name != "Solarize":
            assert_frequencies((own[own != 0] < 0).long(), [0.5, 0.5])
    assert set(magnitudes[codes == CODES["Equalize"]].tolist()) == {0}
