import pytest
import torch
from torchvision.transforms import AutoAugmentPolicy, v2

from ltkd_cli.views.operations import CODES, OPERATIONS, magnitude_table
from ltkd_cli.views.steps.autoaugment import NAMES, AutoAugment, pairs

DRAWN = 40_000


@pytest.mark.parametrize("name", NAMES)
def test_tables_are_those_of_torchvision(name):
    codes, probabilities, places = pairs(name)
    found = [
        tuple(
            (OPERATIONS[codes[k, i]], float(probabilities[k, i]), int(places[k, i])) for i in (0, 1)
        )
        for k in range(len(codes))
    ]
    published = v2.AutoAugment(AutoAugmentPolicy[name.upper()])._policies
    assert found == [tuple((op, p, place or 0) for op, p, place in pair) for pair in published]


@pytest.mark.parametrize("name", NAMES)
def test_operations_come_as_often_as_the_tables_say(draws_of, assert_frequencies, name):
    step = AutoAugment(name)
    codes, _ = step.operations(draws_of(step, DRAWN), (32, 32))
    operations, probabilities, _ = pairs(name)
    for turn in (0, 1):
        shares = torch.zeros(len(OPERATIONS), dtype=torch.float64)
        shares.index_add_(0, operations[:, turn], probabilities[:, turn])
        shares[CODES["Identity"]] += (1 - probabilities[:, turn]).sum()
        assert_frequencies(codes[turn], shares)


def test_the_two_operations_of_a_pair_come_together(draws_of, assert_frequencies):
    step = AutoAugment()
    codes, _ = step.operations(draws_of(step, DRAWN), (32, 32))
    operations, probabilities, _ = pairs("cifar10")
    shares = torch.zeros(len(OPERATIONS) ** 2, dtype=torch.float64)
    identity = CODES["Identity"]
    for (first, second), (p, q) in zip(operations.tolist(), probabilities.tolist(), strict=True):
        for one, its in ((first, p), (identity, 1 - p)):
            for other, others in ((second, q), (identity, 1 - q)):
                shares[one * len(OPERATIONS) + other] += its * others
    assert_frequencies(codes[0] * len(OPERATIONS) + codes[1], shares)


def test_magnitudes_and_their_signs_are_those_of_the_tables(draws_of, assert_frequencies):
    step = AutoAugment()
    codes, magnitudes = step.operations(draws_of(step, DRAWN), (32, 40))
    table = magnitude_table(10, 0.3, (150 / 331 * 32, 150 / 331 * 40), 30, 0.9, 4)
    rotated = codes[0] == CODES["Rotate"]  # the first of one pair alone, magnitude 2
    assert set(magnitudes[0][rotated].abs().tolist()) == {float(table[CODES["Rotate"], 2])}
    assert_frequencies((magnitudes[0][rotated] < 0).long(), [0.5, 0.5])
    solarized = codes[0] == CODES["Solarize"]
    assert set(magnitudes[0][solarized].tolist()) == set(table[CODES["Solarize"], [2, 5]].tolist())
