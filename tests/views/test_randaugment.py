import pytest
import torch
from torchvision.transforms import v2

from ltkd_cli.views.operations import CODES, OPERATIONS, magnitude_table
from ltkd_cli.views.steps.randaugment import CHOICES, RandAugment

DRAWN = 40_000


def test_chooses_from_the_operations_of_torchvision():
    assert {OPERATIONS[code] for code in CHOICES} == set(v2.RandAugment._AUGMENTATION_SPACE)


def test_every_operation_comes_equally_often_in_each_turn(draws_of, assert_frequencies):
    step = RandAugment(3, 9)
    codes, _ = step.operations(draws_of(step, DRAWN), (32, 32))
    assert codes.shape == (3, DRAWN)
    shares = [float(name != "Invert") for name in OPERATIONS]
    for turn in codes:
        assert_frequencies(turn, shares)


def test_turns_are_independent(draws_of, assert_frequencies):
    step = RandAugment(2, 9)
    codes, _ = step.operations(draws_of(step, DRAWN), (32, 32))
    places = torch.searchsorted(CHOICES, codes)
    assert_frequencies(places[0] * len(CHOICES) + places[1], [1.0] * len(CHOICES) ** 2)


@pytest.mark.parametrize("magnitude", [0, 9, 30])
def test_magnitudes_are_the_one_that_is_asked_for_half_of_them_negative(
    draws_of, assert_frequencies, magnitude
):
    step = RandAugment(1, magnitude)
    (codes,), (magnitudes,) = step.operations(draws_of(step, DRAWN), (32, 40))
    table = magnitude_table(31, 0.3, (150 / 331 * 32, 150 / 331 * 40), 30, 0.9, 4)
    assert torch.equal(magnitudes.abs(), table[codes, magnitude])
    for name, (_, signed) in v2.RandAugment._AUGMENTATION_SPACE.items():
        own = magnitudes[codes == CODES[name]]
        if signed and magnitude:
            assert_frequencies((own < 0).long(), [0.5, 0.5])
        else:
            assert (own >= 0).all()


def test_leaves_operations_out_where_a_probability_is_given(draws_of):
    step = RandAugment(2, 27, 0.5)
    codes, _ = step.operations(draws_of(step, DRAWN), (32, 32))
    skipped = (codes == CODES["Identity"]).double().mean()
    assert skipped == pytest.approx(0.5 + 0.5 / 14, abs=0.01)
