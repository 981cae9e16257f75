import pytest

from ltkd_cli.errors import UsageError
from ltkd_cli.training.recipe import PRESETS, resolve


def rates(recipe, epochs):
    return [recipe.learning_rate_at(epoch) for epoch in epochs]


def test_ldam_is_the_schedule_of_its_authors_code():
    # They count from 0, then add one: e/5 up to 5, x0.01 after 160, x0.0001 after 180.
    def authors(epoch):
        epoch += 1
        if epoch <= 5:
            return 0.1 * epoch / 5
        return 0.1 * 0.0001 if epoch > 180 else 0.1 * 0.01 if epoch > 160 else 0.1

    assert rates(PRESETS["ldam"], range(200)) == pytest.approx([authors(e) for e in range(200)])


def test_bbn_falls_at_epochs_120_and_160_and_warms_up_from_a_third():
    recipe = PRESETS["bbn"]
    assert rates(recipe, [0, 5, 119, 120, 159, 160]) == pytest.approx(
        [0.1 / 3, 0.1, 0.1, 1e-3, 1e-3, 1e-5]
    )


def test_the_step_schedule_holds_still_within_an_epoch():
    recipe = PRESETS["ldam"]
    assert recipe.learning_rate_at(159.99) == recipe.learning_rate_at(159)


def test_the_cosine_moves_within_an_epoch_and_ends_at_zero():
    recipe = resolve("quick", {"epochs": 10})
    assert recipe.learning_rate_at(0.5) < recipe.learning_rate_at(0.4)
    assert recipe.learning_rate_at(5) == pytest.approx(recipe.learning_rate / 2)
    assert recipe.learning_rate_at(10) == pytest.approx(0)


def test_milestones_are_shares_so_that_a_shorter_training_keeps_its_shape():
    assert rates(resolve("ldam", {"epochs": 30}), [23, 24, 26, 27]) == pytest.approx(
        [0.1, 1e-3, 1e-3, 1e-5]
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"momentum": 1.5},
        {"weight_decay": -1.0},
        {"warmup_epochs": 5, "warmup_start": 0.0},
        {"milestones": (120.0,)},
        {"schedule": "linear"},
        {"mixup": 0.2, "cutmix": 1.0},
        {"nesterov": True, "momentum": 0.0},
    ],
)
def test_names_the_option_that_is_out_of_range(wrong):
    with pytest.raises(
        UsageError, match=list(wrong)[-1 if "warmup_start" in wrong else 0].replace("_", "[-_ ]")
    ):
        resolve("ldam", wrong)


def test_lists_the_presets_where_one_is_unknown():
    with pytest.raises(UsageError, match="quick, ldam, bbn"):
        resolve("lamd", {})
