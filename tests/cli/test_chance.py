"""A teacher that is no better than chance, or has other classes, is refused; --force insists."""

import json
from pathlib import Path

import pytest
from driving import refused
from run_examples import edit

from benchmarks.faults.forging import forge_attributes
from ltkd_cli.cache import Cache

TINY = ("--model", "resnet8", "--epochs", 1, "--evaluate-every", 0)
TEACHER = "0001-teach-ce-resnet8"
BALANCED = "balanced_accuracy"


def with_scores(scores, accuracy, low, high):
    return {
        **scores,
        BALANCED: {**scores[BALANCED], "accuracy": accuracy, "low": low, "high": high},
    }


def change_run(**changed):
    """Rewrites parts of the teacher's run.json."""
    file = Path(f"runs/{TEACHER}/run.json")
    edit(file, lambda record: record.update(changed))


@pytest.fixture
def record(story):
    return json.loads(Path(f"runs/{TEACHER}/run.json").read_text())


AT_CHANCE = [(0.05, 0.03, 0.08), (0.1, 0.08, 0.13), (0.12, 0.1, 0.15)]


@pytest.mark.parametrize("scores", AT_CHANCE)
def test_export_refuses_before_anything_is_written(ltkd, record, scores):
    change_run(scores=with_scores(record["scores"], *scores))
    said = ltkd("export-logits", 1, "-o", "new.h5")
    assert refused(said, 1, TEACHER, "--force")
    assert not list(Path().glob("*new.h5*"))
    said = ltkd("export-logits", 1, "-o", "new.h5", "--views", 1, "--force")
    assert said.code == 0
    assert any("chance" in line for line in said.err.splitlines() if line.startswith("warning: "))


@pytest.mark.parametrize("scores", AT_CHANCE)
def test_distill_refuses_before_a_run_is_made(ltkd, story, cache, scores):
    held = Cache.open(cache).attributes["teacher_scores"]
    forge_attributes(cache, teacher_scores=with_scores(held, *scores))
    assert refused(ltkd("distill", *TINY), 3, str(cache), f"--cache {cache} --force")
    assert len(list((story / "runs").iterdir())) == 3
    said = ltkd("distill", *TINY, "--force", "--name", "a")
    assert said.code == 0
    assert any("chance" in line for line in said.err.splitlines() if line.startswith("warning: "))
    assert "force = true" in Path("runs/a/config.toml").read_text()


def test_a_teacher_just_above_chance_is_one(ltkd, story, cache):
    held = Cache.open(cache).attributes["teacher_scores"]
    forge_attributes(cache, teacher_scores=with_scores(held, 0.13, 0.1001, 0.16))
    assert ltkd("distill", *TINY).code == 0


@pytest.mark.parametrize("lacking", [BALANCED, None])
def test_scores_that_do_not_say_are_believed(ltkd, story, cache, lacking):
    held = Cache.open(cache).attributes["teacher_scores"]
    scores = {name: value for name, value in held.items() if name != BALANCED} if lacking else {}
    forge_attributes(cache, teacher_scores=scores)
    assert ltkd("distill", *TINY, "--epochs", 1).code == 0


def test_a_method_without_a_teacher_minds_no_teacher(ltkd, story, cache):
    held = Cache.open(cache).attributes["teacher_scores"]
    forge_attributes(cache, teacher_scores=with_scores(held, 0.1, 0.08, 0.12))
    assert ltkd("distill", "--method", "ce", *TINY, "--epochs", 1).code == 0


def test_an_expert_is_not_measured_by_classes_that_it_never_saw(ltkd, story):
    expert = ("teach", *TINY, "--epochs", 1, "--classes", "tail", "--name", "tail")
    assert ltkd(*expert).code == 0
    assert ltkd("export-logits", "tail", "--views", 1).code == 0


def test_classes_in_another_order_are_refused_and_renamed_ones_insisted_on(ltkd, record):
    names = record["data"]["class_names"]
    change_run(data={**record["data"], "class_names": [*names[1:], names[0]]})
    assert refused(ltkd("export-logits", 1, "-o", "new.h5"), 3, TEACHER)
    said = ltkd("export-logits", 1, "-o", "new.h5", "--views", 1, "--force")
    assert said.code == 0
    assert "class 0" in said.err


def test_another_number_of_classes_cannot_be_insisted_on(ltkd, record):
    data = record["data"]
    fewer = {
        "class_names": data["class_names"][1:],
        "groups": {**data["groups"], "of_class": data["groups"]["of_class"][1:]},
    }
    change_run(data={**data, **fewer})
    assert refused(ltkd("export-logits", 1, "-o", "new.h5", "--force"), 3, "9 classes")
