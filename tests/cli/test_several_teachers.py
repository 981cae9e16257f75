"""Experts for groups of classes, teachers of another kind, and students of several teachers."""

import json
import shlex

from ltkd_cli import models
from ltkd_cli.cache import Cache
from ltkd_cli.cli.app import run
from ltkd_cli.models import load

SHORT = ["--model", "resnet8", "--epochs", "1", "--evaluate-every", "0"]


def record_of(name):
    with open(f"runs/{name}/run.json") as file:  # noqa: PTH123
        return json.load(file)


def teach(name, *more):
    assert run(["teach", "--name", name, *SHORT, *more]) == 0
    export = ["export-logits", name, "--views", "2", "--output", f"{name}.h5"]
    assert run([*export, "--force"]) == 0  # after one epoch some are no better than chance


def test_an_expert_learns_its_group_only_and_its_cache_says_so(empty):
    teach("tail", "--classes", "tail")
    assert Cache.open(empty / "tail.h5").attributes["teacher_classes"] == [7, 8, 9]
    record = record_of("tail")
    assert record["scores"]["head"]["accuracy"] == record["scores"]["medium"]["accuracy"] == 0
    assert record["train_images"] == sum(record["data"]["class_counts"][7:])


def test_an_expert_s_classes_are_those_it_was_trained_on_whatever_the_groups_now(empty):
    teach("head", "--classes", "head")  # of thirds of the classes
    counts = ["export-logits", "head", "--groups", "counts", "--views", "1", "-o", "counts.h5"]
    assert run(counts) == 0
    assert Cache.open(empty / "counts.h5").attributes["teacher_classes"] == [0, 1, 2]


def test_an_expert_is_no_teacher_of_all_classes(empty, capsys):
    teach("tail", "--classes", "tail")
    capsys.readouterr()
    assert run(["distill", "--method", "kd", *SHORT, "--cache", "tail.h5"]) == 3
    said = capsys.readouterr().err
    assert "tail.h5" in said
    assert "ltkd distill --method lfme" in said
    assert run(["distill", "--method", "lfme", *SHORT, "--cache", "tail.h5"]) == 0
    assert "7 of the 10 classes" in capsys.readouterr().err
    for strategy in ("logit-adjust", "crt"):
        assert run(["rebalance", "tail", "--strategy", strategy]) == 2
        assert "tail learned the tail classes alone" in capsys.readouterr().err


def test_lfme_learns_from_an_expert_for_each_group(empty):
    for group in ("head", "medium", "tail"):
        teach(group, "--classes", group)
    caches = [part for group in ("head", "medium", "tail") for part in ("--cache", f"{group}.h5")]
    assert run(["distill", "--method", "lfme", "--name", "student", *SHORT, *caches]) == 0
    assert len(record_of("student")["parents"]) == 3


def test_cbd_learns_from_two_kinds_of_teachers_through_a_projection_that_stays(empty):
    teach("plain", "--head", "cosine:20")
    teach("jittered", "--head", "cosine:20", "--augment", "jitter", "--seed", "1")
    caches = ["--cache", "plain.h5", "--cache", "jittered.h5"]
    student = ["--method", "cbd", "--name", "student", *SHORT, *caches]
    assert run(["distill", *student, "--force"]) == 0
    student = load(empty / "runs/student/model.safetensors")
    assert student.spec.projection == student.width == 128
    assert student.spec.head == "cosine:20"
    assert models.parameter_count(student) == record_of("student")["parameters"]


def test_cbd_says_so_where_the_teacher_ends_in_another_layer(empty, capsys):
    teach("plain")
    assert run(["distill", "--method", "cbd", *SHORT, "--cache", "plain.h5"]) == 0
    assert "ltkd teach --head cosine:20" in capsys.readouterr().err


def test_several_caches_must_hold_the_same_views(empty, capsys):
    teach("one")
    assert run(["export-logits", "one", "--views", "2", "--view-seed", "5", "-o", "other.h5"]) == 0
    caches = ["--cache", "one.h5", "--cache", "other.h5"]
    assert run(["distill", "--method", "kd", *SHORT, *caches]) == 3
    hint = capsys.readouterr().err.splitlines()[-1].removeprefix("try: ltkd ")
    assert run(shlex.split(hint)) == 0
    caches = ["--cache", "one.h5", "--cache", "other-seed0.h5"]
    assert run(["distill", "--method", "kd", *SHORT, *caches]) == 0


def test_several_seeds_make_a_run_each(empty):
    assert run(["distill", "--method", "ce", "--seeds", "4,7", "--name", "student", *SHORT]) == 0
    assert [record_of(f"student-{seed}")["settings"]["seed"] for seed in (4, 7)] == [4, 7]


def test_event_files_and_a_profile_are_written_beside_the_run(empty, capsys):
    more = ["--tensorboard", "--profile", "--batch-size", "16"]
    assert run(["teach", "--name", "watched", *SHORT, *more]) == 0
    assert list((empty / "runs/watched/tensorboard").glob("events.*"))
    assert json.loads((empty / "runs/watched/trace.json").read_text())["traceEvents"]
    assert "convolution" in (empty / "runs/watched/profile.txt").read_text()
    assert "convolution" in capsys.readouterr().err
