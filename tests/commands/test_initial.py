"""What a training is where neither a recipe nor an interval of evaluations is named."""

import pytest

from ltkd_cli.commands.initial import evaluate_every, preset


@pytest.mark.parametrize(
    ("data", "freeze", "wanted"),
    [
        ("digits-lt", "", "quick"),
        ("digits-lt", "all", "quick"),
        ("cifar100-lt", "", "ldam"),
        ("cifar100-lt", "stages:1", "ldam"),
        ("images", "all", "frozen-head"),
    ],
)
def test_the_recipe_follows_the_images_and_what_is_frozen(data, freeze, wanted):
    assert preset(data, freeze) == wanted


@pytest.mark.parametrize(
    ("epochs", "freeze", "wanted"),
    [(200, "", 20), (5, "", 1), (200, "stages:1", 20), (30, "all", 0)],
)
def test_a_training_is_evaluated_ten_times_or_at_its_end_where_all_is_frozen(
    epochs, freeze, wanted
):
    assert evaluate_every(epochs, freeze) == wanted
