"""A profile of the first steps: files in the run's folder, and the main costs as an event."""

import json

import pytest
from small_training import loader_of, start

from ltkd_cli.events import EpochEnd, Facts, Step
from ltkd_cli.training.loop import train
from ltkd_cli.training.profiling import RECORDED, SHOWN, SKIPPED, WARMED_UP, profiled
from ltkd_cli.training.recipe import Recipe


def profile(data, recipe, folder):
    training = start(data, recipe)
    return list(profiled(train(training, loader_of(data), recipe, 0, "float32"), folder))


def test_passes_every_event_on_and_shows_what_costs_most(digits, tmp_path):
    recipe = Recipe(epochs=2, batch_size=32, learning_rate=0.01)
    events = profile(digits, recipe, tmp_path)
    steps = [event for event in events if isinstance(event, Step)]
    assert len(steps) == sum(event.batch == event.batches for event in steps) * steps[0].batches
    assert isinstance(events[-1], EpochEnd)
    (facts,) = (event for event in events if isinstance(event, Facts))
    assert len(facts.rows) == SHOWN
    assert "convolution" in " ".join(operation for operation, _ in facts.rows)


def test_it_stops_with_a_training_that_fails(tmp_path, monkeypatch):
    class Recorder:
        running = False

        def start(self):
            self.running = True

        def stop(self):
            self.running = False

    def failing():
        yield Step
        raise ArithmeticError

    recorder = Recorder()
    monkeypatch.setattr("ltkd_cli.training.profiling.profile", lambda **_: recorder)
    events = profiled(failing(), tmp_path)
    next(events)
    assert recorder.running
    with pytest.raises(ArithmeticError):
        next(events)
    assert not recorder.running


def test_the_files_hold_a_trace_and_the_table_of_all_operations(digits, tmp_path):
    recipe = Recipe(epochs=2, batch_size=32, learning_rate=0.01)
    events = profile(digits, recipe, tmp_path)
    (facts,) = (event for event in events if isinstance(event, Facts))
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    table = (tmp_path / "profile.txt").read_text()
    assert "Self CPU" in table
    assert all(operation in table for operation, _ in facts.rows)
    assert table.count("aten::") > SHOWN


def test_a_training_that_is_too_short_is_not_recorded_and_ends_as_usual(digits, tmp_path):
    recipe = Recipe(epochs=1, batch_size=128, learning_rate=0.01)
    events = profile(digits, recipe, tmp_path)
    assert isinstance(events[-2], EpochEnd)
    assert not any(isinstance(event, Facts) for event in events)
    assert sum(isinstance(event, Step) for event in events) < SKIPPED + WARMED_UP + RECORDED
    assert not list(tmp_path.iterdir())
