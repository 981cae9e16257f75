import json

import pytest
from test_loop import digits, loader_of, start  # noqa: F401

from ltkd_cli.events import EpochEnd, Facts, Step
from ltkd_cli.training.loop import train
from ltkd_cli.training.profiling import RECORDED, SHOWN, SKIPPED, WARMED_UP, in_words, profiled
from ltkd_cli.training.recipe import Recipe


def profile(data, recipe, path):
    training = start(data, recipe)
    events = train(training, loader_of(data), recipe, 0, "float32")
    return list(profiled(events, path))


def test_passes_every_event_on_and_says_what_costs_most(digits, tmp_path):  # noqa: F811
    recipe = Recipe(epochs=2, batch_size=32, learning_rate=0.01)
    events = profile(digits, recipe, tmp_path / "trace.json")
    steps = [event for event in events if isinstance(event, Step)]
    assert len(steps) == sum(event.batch == event.batches for event in steps) * steps[0].batches
    assert isinstance(events[-1], EpochEnd)
    (facts,) = (event for event in events if isinstance(event, Facts))
    assert len(facts.rows) == SHOWN
    assert "convolution" in " ".join(what for what, _ in facts.rows)
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]


def test_a_training_that_is_too_short_is_not_recorded_and_ends_as_usual(digits, tmp_path):  # noqa: F811
    recipe = Recipe(epochs=1, batch_size=128, learning_rate=0.01)
    events = profile(digits, recipe, tmp_path / "trace.json")
    assert "too short" in events[-1].text
    assert isinstance(events[-2], EpochEnd)
    assert sum(isinstance(event, Step) for event in events) < SKIPPED + WARMED_UP + RECORDED
    assert not (tmp_path / "trace.json").exists()


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        ("aten::mkldnn_convolution", "convolutions"),
        ("aten::convolution_backward", "gradients of convolutions"),
        ("aten::_fused_sgd_", "the optimiser's step"),
        ("aten::erfinv", "aten::erfinv"),
    ],
)
def test_names_operations_in_words(operation, words):
    assert in_words(operation) == words
