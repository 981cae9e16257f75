"""Recipes that bring the view policy of their source."""

from pathlib import Path

import pytest
from driving import result_of

from ltkd_cli.commands.prepare import prepare
from ltkd_cli.events import Note
from ltkd_cli.training.recipe import POLICIES, PRESETS
from ltkd_cli.views.policy import Policy


def prepared(kind="teach", **given):
    """Settings as they are resolved, and the notes on the way."""
    notes = []

    def heard():
        events = prepare(Path("runs"), kind, {"model": "resnet8", "method": "ce", **given})
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                return end.value
            notes.append(event)
            yield event

    settings = result_of(heard()).settings
    return settings, [note.text for note in notes if isinstance(note, Note)]


@pytest.mark.parametrize("recipe", PRESETS)
def test_a_recipe_brings_the_views_of_its_source_or_leaves_those_of_the_images(empty, recipe):
    settings, notes = prepared(recipe_name=recipe)
    own = POLICIES.get(recipe)
    assert settings.views == (Policy(own).name if own else "crop")
    assert any("--policy" in note for note in notes) == bool(own)


def test_views_that_are_asked_for_win_over_those_of_the_recipe(empty):
    settings, notes = prepared(recipe_name="cifar-strong", views="crop+flip")
    assert settings.views == "crop-flip"
    assert not any("--policy" in note for note in notes)


def test_without_a_teacher_distill_has_the_views_of_the_images(story):
    asked = {"method": "ce", "recipe_name": "cifar-strong", "data": {"data": "digits-lt"}}
    settings, notes = prepared("distill", **asked)
    assert settings.views == "crop"
    assert not any("--policy" in note for note in notes)


def test_a_student_sees_the_views_of_its_cache_whatever_its_recipe_brings(story):
    settings, notes = prepared("distill", method="kd", recipe_name="cifar-strong")
    assert settings.views == "crop"
    assert not any("--policy" in note for note in notes)


def test_colours_that_would_vary_twice_are_warned_of(empty, ltkd):
    tiny = ("--model", "resnet8", "--epochs", 1, "--evaluate-every", 0, "--augment", "jitter")
    for steps, times in (("crop+simclr-jitter", 1), ("crop+jitter:0.4", 1), ("crop", 0)):
        said = ltkd("teach", *tiny, "--policy", steps)
        assert (said.code, said.err.count("vary twice")) == (0, times)
