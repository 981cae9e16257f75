"""The recipes of classifier re-training, against transcriptions of the sources' schedules."""

import math

import pytest

from ltkd_cli.errors import UsageError
from ltkd_cli.rebalancing.recipes import (
    BAG_OF_TRICKS,
    FAST,
    KANG,
    MISLAS,
    PRESETS,
    default_preset,
    resolve,
)


def rates(how):
    return [how.learning_rate_in(epoch) for epoch in range(how.recipe.epochs)]


def test_kang_s_rate_is_a_cosine_stepped_before_each_epoch():
    wanted = [0.2 * (1 + math.cos(math.pi * step / 10)) / 2 for step in range(1, 11)]
    assert rates(KANG) == pytest.approx(wanted)
    assert rates(KANG)[0] == pytest.approx(0.195, abs=2e-4)


def test_mislas_s_rate_is_a_cosine_stepped_after_each_epoch():
    wanted = [0.1 * (1 + math.cos(math.pi * step / 10)) / 2 for step in range(10)]
    assert rates(MISLAS) == pytest.approx(wanted)


def test_the_bag_of_tricks_warms_up_and_steps_before_each_epoch():
    """A multi-step schedule of 10 and 20 that counts from 1, with 5 steps of warm-up from 1/3."""

    def rate(step):
        warm = min(step / 5, 1)
        return 0.1 * ((1 - warm) / 3 + warm) * 0.1 ** ((step >= 10) + (step >= 20))

    assert rates(BAG_OF_TRICKS) == pytest.approx([rate(step) for step in range(1, 31)])


@pytest.mark.parametrize(
    ("strategy", "name", "wanted"),
    [
        ("crt", "imagenet-lt", (10, 512, 0.2, 5e-4, True)),
        ("lws", "imagenet-lt", (5, 512, 0.2, 5e-4, True)),
        ("crt", "bag-of-tricks", (30, 128, 0.1, 5e-4, True)),
        ("lws", "bag-of-tricks", (30, 128, 0.1, 5e-4, True)),
        ("mislas", "imagenet-lt", (10, 256, 0.1, 5e-4, True)),
        ("mislas", "cifar10-lt", (10, 128, 0.1, 2e-4, False)),
        ("mislas", "cifar100-lt", (10, 128, 0.1, 2e-4, True)),
    ],
)
def test_presets_have_the_numbers_of_the_sources(strategy, name, wanted):
    how = resolve(strategy, name, {}, 500)
    recipe = how.recipe
    assert wanted == (
        recipe.epochs,
        recipe.batch_size,
        recipe.learning_rate,
        recipe.weight_decay,
        how.moving_statistics,
    )
    assert how.new_views
    assert recipe.momentum == 0.9
    assert recipe.nesterov is (name == "bag-of-tricks")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("imagenet-lt", (0.3, 0.0, 0.05)),
        ("cifar10-lt", (0.3, 0.0, 0.5)),
        ("cifar10-lt-50", (0.2, 0.0, 0.2)),
        ("cifar10-lt-10", (0.1, 0.0, 0.2)),
        ("cifar100-lt", (0.4, 0.1, 0.2)),
        ("cifar100-lt-50", (0.3, 0.0, 0.1)),
        ("cifar100-lt-10", (0.2, 0.0, 0.1)),
    ],
)
def test_mislas_smooths_as_its_source_does(name, wanted):
    how = PRESETS["mislas"][name]
    assert (how.smooth_head, how.smooth_tail, how.classifier_share) == wanted


@pytest.mark.parametrize("strategy", PRESETS)
def test_the_fast_recipe_gives_small_sets_more_epochs_unless_they_are_given(strategy):
    known = PRESETS[strategy]["imagenet-lt"].recipe.epochs
    assert resolve(strategy, FAST, {}, 115_846).recipe.epochs == known
    assert resolve(strategy, FAST, {}, 200).recipe.epochs == 30 * known
    assert resolve(strategy, FAST, {"epochs": 3}, 200).recipe.epochs == 3
    assert not resolve(strategy, FAST, {}, 200).moving_statistics
    assert not resolve(strategy, FAST, {}, 200).new_views


def test_every_option_replaces_its_field():
    given = {
        "epochs": 2, "batch_size": 7, "learning_rate": 0.5, "weight_decay": 0.0,
        "smooth_head": 0.2, "smooth_tail": 0.0, "classifier_share": 1.0,
    }  # fmt: skip
    how = resolve("mislas", "cifar100-lt", given, 500)
    found = {name: getattr(how.recipe, name, None) for name in list(given)[:4]}
    found |= {name: getattr(how, name) for name in list(given)[4:]}
    assert found == given


def test_sets_of_the_source_have_its_recipe_by_default():
    for data in ("cifar10-lt", "cifar100-lt"):
        for imbalance in (None, 100.0, 25.0):
            assert default_preset("mislas", data, imbalance) == data
        assert default_preset("mislas", data, 50.0) == f"{data}-50"
        assert default_preset("mislas", data, 10.0) == f"{data}-10"
    assert default_preset("crt", "cifar100-lt", 10.0) == FAST
    assert default_preset("mislas", "photos", 10.0) == FAST


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", math.inf),
        ("weight_decay", -1.0),
        ("weight_decay", math.nan),
        ("smooth_head", 1.0),
        ("smooth_tail", -0.1),
        ("classifier_share", 0.0),
        ("classifier_share", 1.1),
    ],
)
def test_values_that_do_not_fit_are_refused_by_their_option(name, value):
    with pytest.raises(UsageError, match="--" + name.replace("_", "-")):
        resolve("mislas", FAST, {name: value}, 500)


@pytest.mark.parametrize("strategy", ["crt", "lws"])
@pytest.mark.parametrize("recipe", [FAST, "imagenet-lt"])
def test_a_single_epoch_without_a_learning_rate_is_refused(strategy, recipe):
    with pytest.raises(UsageError, match="learning rate of 0") as caught:
        resolve(strategy, recipe, {"epochs": 1}, 500)
    assert caught.value.hint == "--epochs 2"
    assert resolve(strategy, recipe, {"epochs": 2}, 500).learning_rate_in(0) > 0


def test_a_recipe_of_another_strategy_is_refused_with_those_there_are():
    with pytest.raises(UsageError, match=r"cifar10-lt.*fast, imagenet-lt, bag-of-tricks"):
        resolve("crt", "cifar10-lt", {}, 500)
