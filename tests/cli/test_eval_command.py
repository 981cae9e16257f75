"""`ltkd eval`: one run, several side by side, several seeds of one setting, and caches."""

import json
import math
from pathlib import Path
from statistics import mean, stdev

import pytest
import torch
from run_examples import edit
from torch.nn.functional import one_hot

from ltkd_cli import runs
from ltkd_cli.commands.evaluate import (
    Scored,
    check_thresholds,
    compare_images,
    thresholds,
)
from ltkd_cli.data.groups import Groups
from ltkd_cli.errors import BelowThreshold
from ltkd_cli.metrics import score

TINY = ("--model", "resnet8", "--epochs", 1, "--evaluate-every", 0, "--precision", "float32")
QUANTILE_OF_THREE = 4.30265272991  # Student's t, 97.5 %, two degrees of freedom


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


def test_three_seeds_of_one_setting_become_a_mean_with_a_t_interval(ltkd, story):
    assert ltkd("distill", *TINY, "--seed", 2).code == 0
    found = document(ltkd("eval", "2", "1", "3", "4", "--json"))["settings"]
    assert [setting["n"] for setting in found] == [3, 1]
    values = [recorded(number)["accuracy"] for number in (2, 3, 4)]
    reach = QUANTILE_OF_THREE * stdev(values) / math.sqrt(3)
    assert found[0]["all"]["values"] == values
    assert found[0]["all"]["mean"] == pytest.approx(mean(values))
    assert found[0]["all"]["high"] == pytest.approx(min(mean(values) + reach, 1))
    assert found[0]["all"]["low"] == pytest.approx(max(mean(values) - reach, 0))


def test_two_seeds_show_both_values_and_no_interval(ltkd, story):
    (found,) = document(ltkd("eval", "2", "3", "--json"))["settings"]
    values = [recorded(2)["accuracy"], recorded(3)["accuracy"]]
    assert found["all"] == {"mean": mean(values), "low": None, "high": None, "values": values}
    both = ", ".join(f"{100 * value:.1f}" for value in values)
    assert f"{100 * mean(values):.1f} ({both})" in ltkd("eval", "2", "3").out


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
    assert ltkd("distill", *TINY).code == 0  # the seed of 2, with another teacher
    (setting,) = document(ltkd("eval", "2", "3", "5", "--json"))["settings"]
    assert setting["n"] == 3


def test_a_cache_gives_the_teacher_s_scores_without_the_teacher(ltkd, story, cache):
    expected = recorded(1, "tail")
    for path in cache.parent.glob("[!c]*"):  # everything of the teacher but its cache
        path.unlink()
    (result,) = document(ltkd("eval", cache, "--json", "--split", "tail"))["results"]
    assert result["kind"] == "cache"
    assert result["tail"] == expected


def test_rows_of_the_same_images_come_without_a_warning(ltkd, story, cache):
    said = ltkd("eval", cache, "1")
    assert (said.code, said.err) == (0, "")
    assert document(ltkd("eval", cache, "1", "--json"))["warnings"] == []


def test_rows_of_other_images_are_warned_of_though_names_and_counts_are_equal(ltkd, story, cache):
    assert ltkd("teach", *TINY, "--image-size", 8).code == 0
    for first in (cache, "1"):
        said = ltkd("eval", first, "4")
        assert "not about the same images" in said.err
        assert said.out.count("test set of digits-lt, 400 images, fingerprint ") == 2
        about_images, *alike = document(ltkd("eval", first, "4", "--json"))["warnings"]
        assert about_images in said.err
        assert all(text in said.out for text in alike)


def row(name="run", fingerprint=None, scores=None):
    groups = Groups("rank", ("tail",) * 3)
    return Scored(name, "teach", "", "", "400 images", fingerprint, groups, 0, "", "", scores, None)


def test_a_row_that_does_not_say_its_images_is_warned_of_beside_others():
    old, new = row("old.h5"), row("0001-teach", "a" * 64)
    assert list(compare_images([old])) == []
    (warning,) = compare_images([old, new])
    assert "old.h5" in warning.text
    assert "0001-teach" not in warning.text


@pytest.fixture
def regrouped(story):
    """A run that recorded other groups than its training images would form now."""
    run = runs.find(Path("runs"), "1")
    before = run.record["data"]["groups"]["of_class"]
    run.update(data={**run.record["data"], "groups": {"rule": "rank", "of_class": before[::-1]}})
    return run


def test_groups_are_those_that_the_run_recorded_and_a_change_is_warned_of(ltkd, regrouped):
    found = document(ltkd("eval", "1", "--json"))
    (warning,) = found["warnings"]
    assert regrouped.name in warning
    (result,) = found["results"]
    assert result["head"]["accuracy"] == recorded(1, "tail")["accuracy"]
    assert result["tail"]["accuracy"] == recorded(1, "head")["accuracy"]
    assert regrouped.name in ltkd("eval", "1").err


@pytest.mark.parametrize(("asked", "shown"), [("tail", "tail"), ("few", "tail"), ("many", "head")])
def test_a_split_has_two_names(ltkd, story, asked, shown):
    said = ltkd("eval", "1", "--split", asked)
    assert said.out.splitlines()[0].split() == ["run", "method", "model", shown]


def test_the_table_says_where_its_numbers_are_from(ltkd, story):
    said = ltkd("eval", "1")
    assert "after the last epoch, on the test set of digits-lt, 400 images" in said.out
    assert "thirds of the classes by training images" in said.out
    assert "head 120 (3 classes), medium 160 (4 classes), tail 120 (3 classes)" in said.out


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
        (["all=0.999", "all=0.01"], 5),
        (["all=0.01", "all=0.999"], 5),
        (["few=1", "tail=0"], 5),
    ],
)
def test_fail_under_decides_the_exit_code(ltkd, story, thresholds, code):
    options = [part for threshold in thresholds for part in ("--fail-under", threshold)]
    said = ltkd("eval", "1", *options)
    assert said.code == code
    assert said.out  # the table comes in any case
    assert ("less than" in said.err) is (code == 5)


@pytest.mark.parametrize("share", [0.4, 0.7, 0.5, 0.3, 0.6])
def test_fail_under_is_met_by_an_accuracy_that_is_equal_but_for_rounding(share):
    classes = torch.arange(3).repeat_interleave(10)
    shares = [share - 0.3, share, share + 0.3]
    wrong = [int(number % 10 >= round(10 * shares[number // 10])) for number in range(30)]
    logits = one_hot((classes + torch.tensor(wrong)) % 3).float()
    groups = Groups("rank", ("tail",) * 3)
    scored = [row(scores=score(logits, classes, groups, ["a", "b", "c"], [3, 2, 1]))]
    check_thresholds(scored, thresholds([f"tail={share}"]))
    with pytest.raises(BelowThreshold):
        check_thresholds(scored, thresholds([f"tail={share + 0.001}"]))


def test_thirds_are_said_to_compare_with_no_paper_s_groups(ltkd, story):
    assert "--groups counts" in ltkd("eval", "1").out
    (result,) = document(ltkd("eval", "1", "--json"))["results"]
    assert result["group_rule"] == "rank"
    assert "--groups counts" not in ltkd("eval", "1", "--split", "all").out


def test_a_repetition_is_said_to_be_one(ltkd, story):
    assert "0002-distill-bkd-resnet8 repeats 0002" in ltkd("eval", "2", "2").out
    (warning,) = document(ltkd("eval", "2", "2", "--json"))["warnings"]
    assert "0002-distill-bkd-resnet8 repeats 0002" in warning


def test_rows_that_look_alike_are_told_apart_for_programs_too(ltkd, story):
    edit(
        story / "runs/0003-distill-bkd-resnet8/run.json",
        lambda run: run["settings"]["recipe"].update(weight_decay=0.25),
    )
    assert "weight_decay" in ltkd("eval", "2", "3").out
    (warning,) = document(ltkd("eval", "2", "3", "--json"))["warnings"]
    assert "weight_decay" in warning


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
