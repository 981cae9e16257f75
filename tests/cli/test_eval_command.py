"""`ltkd eval`: one run, several side by side, several seeds of one setting, and caches."""

import json
import math
from pathlib import Path
from statistics import mean, stdev

import pytest

from ltkd_cli import runs

TINY = ("--model", "resnet8", "--epochs", 1, "--evaluate-every", 0, "--precision", "float32")
QUANTILE_OF_TWO = 12.7062047364  # Student's t, 97.5 %, one degree of freedom


def document(said):
    assert said.code == 0
    return json.loads(said.out)


def recorded(number, split="all"):
    return runs.find(Path("runs"), str(number)).record["scores"][split]


def test_scores_are_those_that_the_run_recorded(ltkd, story):
    (result,) = document(ltkd("eval", "1", "--json"))["results"]
    assert result["name"] == "0001-teach-ce-resnet8"
    for split in ("all", "head", "medium", "tail"):
        assert result[split]["accuracy"] == recorded(1, split)["accuracy"]
        assert result[split]["low"] <= result[split]["accuracy"] <= result[split]["high"]


@pytest.mark.parametrize(
    "which",
    ["1", "0001", "0001-teach-ce-resnet8", "runs/0001-teach-ce-resnet8",
     "runs/0001-teach-ce-resnet8/model.safetensors"],
)  # fmt: skip
def test_a_run_is_found_by_number_name_path_or_weights(ltkd, story, which):
    (result,) = document(ltkd("eval", which, "--json"))["results"]
    assert result["name"] == "0001-teach-ce-resnet8"


def test_several_runs_stand_side_by_side_in_the_order_given(ltkd, story):
    said = ltkd("eval", "2", "1")
    rows = said.out.splitlines()[1:3]
    assert [row.split()[0] for row in rows] == ["0002-distill-bkd-resnet8", "0001-teach-ce-resnet8"]


def test_seeds_of_one_setting_become_a_mean_with_a_t_interval(ltkd, story):
    found = document(ltkd("eval", "2", "1", "3", "--json"))["settings"]
    assert [setting["n"] for setting in found] == [2, 1]
    values = [recorded(2)["accuracy"], recorded(3)["accuracy"]]
    reach = QUANTILE_OF_TWO * stdev(values) / math.sqrt(2)
    assert found[0]["all"]["mean"] == pytest.approx(mean(values))
    assert found[0]["all"]["high"] == pytest.approx(mean(values) + reach)
    assert found[0]["all"]["low"] == pytest.approx(mean(values) - reach)


def test_a_single_run_has_wilson_s_interval_over_its_test_images(ltkd, story):
    (setting,) = document(ltkd("eval", "1", "--json"))["settings"]
    assert setting["all"]["low"] == pytest.approx(recorded(1)["low"])
    assert setting["interval"] == "over the images"


def test_a_run_named_twice_is_no_second_seed(ltkd, story):
    found = document(ltkd("eval", "2", "2", "3", "--json"))["settings"]
    assert [setting["n"] for setting in found] == [2, 1]


def test_another_option_of_the_method_is_another_setting(ltkd, story):
    assert ltkd("distill", *TINY, "--set", "temperature=3").code == 0
    said = ltkd("eval", "2", "4")
    assert [line.count("bkd temperature=3") for line in said.out.splitlines()[1:3]] == [0, 1]


def test_students_of_other_teachers_seeds_are_one_setting(ltkd, story):
    assert ltkd("teach", *TINY, "--epochs", 3, "--seed", 5).code == 0
    assert ltkd("export-logits", "--views", 4).code == 0
    assert ltkd("distill", *TINY).code == 0
    (setting,) = document(ltkd("eval", "2", "3", "5", "--json"))["settings"]
    assert setting["n"] == 3


def test_a_cache_gives_the_teacher_s_scores_without_the_teacher(ltkd, story, cache):
    expected = recorded(1, "tail")
    for path in cache.parent.glob("[!c]*"):  # everything of the teacher but its cache
        path.unlink()
    (result,) = document(ltkd("eval", cache, "--json", "--split", "tail"))["results"]
    assert result["kind"] == "cache"
    assert result["tail"] == expected


def test_a_cache_and_a_run_of_the_same_images_are_said_to_be_so(ltkd, story, cache):
    assert "not about the same images" not in ltkd("eval", cache, "1").out
    assert ltkd("teach", *TINY, "--image-size", 8).code == 0
    assert ltkd("eval", cache, "4").code == 0


@pytest.mark.parametrize(("asked", "shown"), [("tail", "tail"), ("few", "tail"), ("many", "head")])
def test_a_split_has_two_names(ltkd, story, asked, shown):
    said = ltkd("eval", "1", "--split", asked)
    assert said.out.splitlines()[0].split() == ["run", "method", "model", shown]


def test_the_table_says_where_its_numbers_are_from(ltkd, story):
    said = ltkd("eval", "1")
    assert "after the last epoch, on the test set of digits-lt, 400 images" in said.out
    assert "thirds of the classes by training images" in said.out
    assert "head 120 in 3, medium 160 in 4, tail 120 in 3" in said.out


def test_an_empty_group_is_not_a_score_of_zero(ltkd, story):
    assert ltkd("teach", *TINY, "--groups", "counts", "--imbalance", 1).code == 0
    said = ltkd("eval", "4")
    assert "n/a (0 classes)" in said.out
    (setting,) = document(ltkd("eval", "4", "--json"))["settings"]
    assert "tail" not in setting


@pytest.mark.parametrize(
    ("thresholds", "code"),
    [
        (["all=0.01"], 0),
        (["all=0.999"], 5),
        (["all=0.01", "tail=1"], 5),
        (["few=0"], 0),
    ],
)
def test_fail_under_decides_the_exit_code(ltkd, story, thresholds, code):
    options = [part for threshold in thresholds for part in ("--fail-under", threshold)]
    said = ltkd("eval", "1", *options)
    assert said.code == code
    assert said.out  # the table comes in any case
    assert ("less than" in said.err) is (code == 5)


def test_damaged_weights_are_an_integrity_failure(ltkd, story):
    path = story / "runs/0001-teach-ce-resnet8/model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    said = ltkd("eval", "1")
    assert said.code == 4
    assert "model.safetensors" in said.err


def test_a_broken_run_folder_is_named_with_the_command_that_puts_it_aside(ltkd, story):
    (story / "runs/0002-distill-bkd-resnet8/run.json").write_text("{")
    said = ltkd("runs")
    assert (said.code, len(said.out.splitlines())) == (0, 3)
    assert "runs/0002-distill-bkd-resnet8/run.json" in said.err
    assert "mv -- runs/0002-distill-bkd-resnet8" in said.err
    assert ltkd("eval", "1").code == 0
    said = ltkd("eval", "2")
    assert (said.code, "mv -- runs/0002-distill-bkd-resnet8" in said.err) == (1, True)


def test_runs_are_listed_oldest_first_with_their_scores(ltkd, story):
    lines = ltkd("runs").out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        "0001-teach-ce-resnet8",
        "0002-distill-bkd-resnet8",
        "0003-distill-bkd-resnet8",
    ]
    assert f"{100 * recorded(1)['accuracy']:.1f}" in lines[1]


def test_each_rule_of_groups_is_told_with_its_runs(ltkd, story):
    tiny = ("--model", "resnet8", "--epochs", 1, "--evaluate-every", 0)
    assert ltkd("teach", *tiny, "--groups", "counts", "--name", "counted").code == 0
    said = " ".join(ltkd("eval", "1", "counted").out.split())
    assert "Groups of 0001-teach-ce-resnet8: thirds of the classes" in said
    assert "Groups of counted: head > 100 training images" in said
