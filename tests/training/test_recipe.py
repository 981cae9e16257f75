import math

import pytest

from ltkd_cli.errors import UsageError
from ltkd_cli.training.recipe import PRESETS, SOURCES, resolve


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


def stepped_before_each_epoch(milestones):
    """The rates of BBN's and BagofTricks-LT's code, whose scheduler counts on before an epoch."""
    found = []
    for counted in range(1, 201):
        share = counted / 5
        warmup = 1 / 3 * (1 - share) + share if counted < 5 else 1
        found.append(0.1 * warmup * 0.01 ** sum(counted >= one for one in milestones))
    return found


@pytest.mark.parametrize(
    ("preset", "milestones"), [("bbn", (120, 160)), ("bag-of-tricks", (160, 180))]
)
def test_every_rate_is_that_of_code_which_steps_its_scheduler_before_each_epoch(preset, milestones):
    authors = stepped_before_each_epoch(milestones)
    assert rates(PRESETS[preset], range(200)) == pytest.approx(authors, rel=1e-15)


def test_the_transcribed_rates_are_those_that_were_read_off_a_run_of_that_code():
    found = stepped_before_each_epoch((120, 160))
    assert found[:6] == pytest.approx([0.0467, 0.06, 0.0733, 0.0867, 0.1, 0.1], abs=5e-5)
    assert found[118:120] == pytest.approx([0.1, 0.001])
    assert found[158:160] == pytest.approx([0.001, 0.00001])


def test_deit_warms_up_from_a_millionth_of_a_rate_that_follows_the_batch_size():
    recipe = PRESETS["adamw"]
    assert recipe.learning_rate == pytest.approx(5e-4 * recipe.batch_size / 512)
    authors = [1e-6 + (recipe.learning_rate - 1e-6) * epoch / 5 for epoch in range(5)]
    cosine = [0.5 * (1 + math.cos(math.pi * epoch / 300)) for epoch in range(5)]
    wanted = [rate * share for rate, share in zip(authors, cosine, strict=True)]
    assert rates(recipe, range(5)) == pytest.approx(wanted)


def test_every_preset_has_a_source():
    assert list(SOURCES) == list(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_within_the_rules(name):
    assert resolve(name, {}) == PRESETS[name]


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
        {"learning_rate": math.inf},
        {"clip_norm": math.inf},
        {"weight_decay": math.nan},
        {"momentum": 1.5},
        {"weight_decay": -1.0},
        {"warmup_epochs": 5, "warmup_start": 0.0},
        {"milestones": (120.0,)},
        {"schedule": "linear"},
        {"mixup": -0.2},
        {"cutmix": -1.0},
        {"nesterov": True, "momentum": 0.0},
        {"nesterov": True, "optimizer": "adamw"},
        {"optimizer": "adam"},
    ],
)
def test_names_the_option_that_is_out_of_range(wrong):
    with pytest.raises(
        UsageError, match=list(wrong)[-1 if "warmup_start" in wrong else 0].replace("_", "[-_ ]")
    ):
        resolve("ldam", wrong)


def test_options_for_mixing_stand_for_steps_of_a_policy():
    assert resolve("ldam", {}).mixing == []
    assert resolve("ldam", {"mixup": 0.8, "cutmix": 1.0}).mixing == ["mixup:0.8", "cutmix:1.0"]


def test_lists_the_presets_where_one_is_unknown():
    with pytest.raises(UsageError, match=", ".join(PRESETS)):
        resolve("lamd", {})
