"""Caches that do not fit or are not whole: refused before a run folder is made."""

import json
import os
import shutil
from pathlib import Path

import h5py
import pytest
from driving import refused
from foreign_files import image_folder

from benchmarks.faults.forging import forge, forge_attributes, format_1
from ltkd_cli.cache import Cache

TINY = ("--model", "resnet8", "--epochs", 1)


def distill(ltkd, *options):
    """`ltkd distill` that is to be refused; checks that it left no run."""
    before = sorted(Path("runs").iterdir())
    said = ltkd("distill", *TINY, *options)
    assert sorted(Path("runs").iterdir()) == before
    return said


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (("--imbalance", 10), ("data_spec.imbalance:", "20.0", "10.0")),
        (("--imbalance-seed", 1), ("data_spec.imbalance_seed:", "0", "1")),
        (("--imbalance-type", "step"), ("data_spec.imbalance_type:", "exp", "step")),
        (("--image-size", 8), ("data_spec.image_size:", "16", "8")),
    ],
    ids=str,
)
def test_a_cache_of_other_images_is_refused_with_the_difference(ltkd, story, options, difference):
    said = distill(ltkd, *options)
    assert refused(said, 3, "cache-crop-4.h5")
    assert any(all(part in line for part in difference) for line in said.err.splitlines())


def test_a_cache_of_another_data_set_is_refused(ltkd, story):
    image_folder(story / "images")
    said = distill(ltkd, "--data", "images")
    assert refused(said, 3, 'image_set: cache has "digits-lt", image set has "images"')


def test_a_cache_of_another_class_order_is_refused(ltkd, story, cache):
    names = Cache.open(cache).attributes["class_names"]
    forge_attributes(cache, class_names=[names[1], names[0], *names[2:]])
    assert refused(distill(ltkd), 3, 'class_names[0]: cache has "1", image set has "0"')


def test_a_cache_of_a_newer_format_is_refused(ltkd, story, cache):
    forge(cache, lambda text: text.update(format=3))
    said = distill(ltkd)
    assert refused(said, 3, str(cache), "pip install --upgrade ltkd")
    assert "format 3" in said.err


def test_a_cache_of_another_version_of_a_step_is_refused(ltkd, story, cache):
    policy = Cache.open(cache).attributes["policy"]
    forge_attributes(cache, policy={**policy, "versions": {**policy["versions"], "crop": 99}})
    assert refused(distill(ltkd), 3, "crop version 99", "ltkd export-logits")


@pytest.mark.parametrize("other", [{"view_version": 99}, {"view_policy": "swirl"}], ids=str)
def test_a_cache_of_format_1_with_other_views_is_refused(ltkd, story, cache, other):
    forge_attributes(cache, "policy", **other)
    format_1(cache).replace(cache)
    assert refused(distill(ltkd), 3, str(*other.values()), "ltkd export-logits")


def test_a_cache_that_does_not_say_where_it_is_from_is_refused(ltkd, story, cache):
    forge_attributes(cache, "teacher_method", "view_policy")
    assert refused(distill(ltkd), 3, "view_policy, teacher_method", "ltkd export-logits")


def test_a_cache_with_a_number_that_no_run_can_record_is_refused(ltkd, story, cache):
    forge_attributes(cache, teacher_recipe={"epochs": 10**30, "name": "\udcff"})
    assert refused(ltkd("distill"), 3, str(cache), "ltkd export-logits")
    assert len(list((story / "runs").iterdir())) == 3


def test_a_cache_whose_teacher_has_no_balanced_accuracy_is_not_scored(ltkd, story, cache):
    scores = Cache.open(cache).attributes["teacher_scores"]
    unknown = {**scores["balanced_accuracy"], "accuracy": None}
    forge_attributes(cache, teacher_scores={**scores, "balanced_accuracy": unknown})
    assert refused(ltkd("eval", cache), 3, str(cache), "run")


@pytest.mark.parametrize("odd", [0.5, {"low": 0.01, "images": 1, "classes": 1}], ids=str)
def test_a_cache_with_odd_scores_is_refused(ltkd, story, cache, odd):
    scores = Cache.open(cache).attributes["teacher_scores"]
    forge_attributes(cache, teacher_scores={**scores, "balanced_accuracy": odd})
    assert refused(distill(ltkd), 3, "balanced_accuracy", "ltkd export-logits")


def test_scores_of_a_later_version_may_say_more(ltkd, story, cache):
    scores = Cache.open(cache).attributes["teacher_scores"]
    more = {name: {**scores[name], "new": 1} for name in ("all", "balanced_accuracy")}
    forge_attributes(cache, teacher_scores={**scores, **more})
    assert ltkd("eval", cache).code == 0


def test_a_cache_of_format_1_is_read_with_a_warning(ltkd, story, cache):
    format_1(cache, teacher_run="0001-teach-ce-resnet8").replace(cache)
    for command in (("distill", *TINY), ("cache", "info"), ("cache", "verify")):
        said = ltkd(*command)
        assert said.code == 0
        assert f"{cache} has format 1" in " ".join(said.err.split())
    assert "format 1" in json.loads(ltkd("cache", "info", "--json").out)["warnings"][0]


def test_a_cache_that_is_dated_in_the_future_is_told_and_is_not_the_newest(ltkd, story, cache):
    ahead = shutil.copy(cache, "runs/0002-distill-bkd-resnet8/ahead.h5")
    os.utime(ahead, (2**32, 2**32))
    for command in (("cache", "info"), ("distill", "--method", "ce", *TINY)):
        said = ltkd(*command)
        assert (said.code, f"warning: {ahead} " in said.err) == (0, True)
        assert str(cache) in said.out + said.err
    cache.unlink()
    assert ahead in ltkd("cache", "info").err.splitlines()[-1]  # the only one there is


def test_training_on_a_damaged_entry_stops_and_names_it(ltkd, story, cache):
    with h5py.File(cache) as file:
        first, size = file["logits"].id.get_offset(), file["logits"].nbytes
    whole = bytearray(cache.read_bytes())
    whole[first : first + size] = bytes(size)
    cache.write_bytes(whole)
    assert refused(ltkd("distill", *TINY), 4, f"{cache} is damaged")


@pytest.mark.parametrize("command", [("distill", *TINY), ("cache", "info"), ("cache", "verify")])
def test_a_truncated_cache_is_damaged_to_everyone(ltkd, story, cache, command):
    whole = cache.read_bytes()
    cache.write_bytes(whole[: len(whole) * 2 // 3])
    said = ltkd(*command)
    assert refused(
        said, 4, str(cache), f"ltkd export-logits {cache.parent} --output {cache} --force"
    )


def test_a_flipped_byte_is_found_by_verify_with_its_row_and_view(ltkd, story, cache):
    assert ltkd("cache", "verify").code == 0
    with h5py.File(cache) as file:
        first = file["logits"].id.get_offset()
        entry_bytes = file["logits"].shape[1] * 2
    whole = bytearray(cache.read_bytes())
    whole[first + 6 * entry_bytes + 3] ^= 1  # the seventh entry: row 1, view 2 of 4
    cache.write_bytes(whole)
    assert refused(ltkd("cache", "verify", cache), 4, "row 1, view 2")


@pytest.mark.parametrize("method", ["cbd", "feature", "crd", "krdistill"])
def test_features_that_are_needed_but_not_stored_are_missed_before_a_run(ltkd, story, method):
    assert ltkd("export-logits", "--no-features", "--views", 1, "-o", "small.h5").code == 0
    said = distill(ltkd, "--method", method, "--cache", "small.h5")
    assert refused(said, 3, "small.h5", "ltkd export-logits 0001-teach-ce-resnet8 --views 1")


def test_caches_of_different_views_do_not_teach_together(ltkd, story, cache):
    assert ltkd("export-logits", "--views", 1, "--view-seed", 7, "-o", "other.h5").code == 0
    said = distill(ltkd, "--cache", cache, "--cache", "other.h5")
    assert refused(
        said, 3, "other.h5", "ltkd export-logits 0001-teach-ce-resnet8 --views 1 --policy"
    )
    assert "--view-seed" not in said.err  # 0, that of the first


@pytest.mark.parametrize("content", [b"", b"no cache at all"])
def test_a_file_that_is_no_cache_is_named(ltkd, story, content):
    (story / "mine.h5").write_bytes(content)
    said = distill(ltkd, "--cache", "mine.h5")
    assert said.code in (1, 4)
    assert "mine.h5" in said.err


@pytest.mark.parametrize("command", [("cache", "info"), ("cache", "verify"), ("eval",)])
def test_a_partial_file_is_never_read_as_a_cache(ltkd, story, cache, command):
    shutil.copy(cache, "mine.h5.partial")  # as whole as can be, but named so
    for name in ("mine.h5.partial", "mine.h5"):
        said = ltkd(*command, name)
        assert refused(said, 1, "mine.h5", "ltkd export-logits")


def test_the_attributes_of_a_cache_from_elsewhere_are_shown(ltkd, story, cache):
    forge_attributes(cache, "teacher_method")
    assert ltkd("cache", "verify").code == 0
    assert json.loads(ltkd("cache", "info", "--json").out)["format"] == 2
    assert refused(ltkd("cache", "info"), 3, "teacher_method")
