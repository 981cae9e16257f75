"""A second export to the same name, and what label-only methods take from a cache."""

import re
from pathlib import Path

import pytest
from driving import datasets, disk_of, refused

from ltkd_cli import runs
from ltkd_cli.cache import Cache

TINY = ("--model", "resnet8", "--epochs", 1, "--evaluate-every", 0)


def test_an_export_that_is_there_already_is_not_made_again(ltkd, story, cache):
    before = cache.stat().st_mtime_ns
    said = ltkd("export-logits", "--views", 4)
    assert said.code == 0
    assert str(cache) in said.err
    assert said.out.startswith(str(cache))
    assert cache.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (("--no-features",), ("width", "64", "0")),
        (("--view-seed", 3), ("view_seed", "0", "3")),
        (("--dtype", "float32"), ("dtype", "float16", "float32")),
        (("--precision", "bfloat16"), ("autocast", "float32", "bfloat16")),
        (("--groups", "counts"), ("groups.rule", "rank", "counts")),
    ],
    ids=str,
)
def test_another_export_under_the_same_name_is_refused(ltkd, story, cache, options, difference):
    before = cache.read_bytes()
    said = ltkd("export-logits", "--views", 4, *options)
    assert refused(said, 3, str(cache), "--force")
    assert any(all(part in line for part in difference) for line in said.err.splitlines())
    assert cache.read_bytes() == before


def test_force_replaces_a_cache(ltkd, story, cache):
    assert ltkd("export-logits", "--views", 4, "--no-features", "--force").code == 0
    assert Cache.open(cache).layout.width == 0


def test_force_mends_a_damaged_cache(ltkd, story, cache):
    before = datasets(cache)
    cache.write_bytes(cache.read_bytes()[:1000])
    assert ltkd("export-logits", "--views", 4).code == 4
    assert ltkd("export-logits", "--views", 4, "--force").code == 0
    assert datasets(cache) == before


@pytest.mark.parametrize("letters", [250, 300])
def test_a_name_that_is_too_long_is_a_clear_error(ltkd, story, letters):
    said = ltkd("export-logits", "--views", 1, "--output", "x" * letters)
    assert said.code == 1
    assert "x" * letters in said.err.replace("\n", "")
    assert said.err.splitlines()[-1] == "try: --output cache.h5"


@pytest.mark.parametrize("options", [(), ("--force",)])
def test_the_users_own_file_is_not_replaced_by_a_partial_one(ltkd, story, options):
    Path("mine.h5.partial").write_text("my notes")
    said = ltkd("export-logits", "--views", 1, "--output", "mine.h5", *options)
    assert said.code == 1
    assert said.err.splitlines()[-1] == "try: to start anew: rm mine.h5.partial"
    assert Path("mine.h5.partial").read_text() == "my notes"


def test_a_policy_of_one_view_exports_one(ltkd, story):
    assert ltkd("export-logits", "--policy", "none").code == 0
    assert Cache.open(Path("runs/0001-teach-ce-resnet8/cache-none-1.h5")).layout.entries == 453


def test_any_policy_is_taught_exported_and_distilled_and_plain_in_a_file_s_name(ltkd, empty):
    policy = "crop:2+jitter:0.4+randaugment:2:9:0.5+erasing:0.25"
    assert ltkd("teach", *TINY, "--policy", policy).code == 0
    assert ltkd("export-logits", "--views", 2).code == 0
    (made,) = Path("runs").glob("*/*.h5")
    assert re.fullmatch(r"cache-[a-z0-9.-]{1,60}\.h5", made.name)
    assert ltkd("distill", *TINY).code == 0
    assert read_settings(2)["views"] == read_settings(1)["views"] == policy


def test_another_rule_for_groups_gets_scores_of_its_own(ltkd, story):
    said = ltkd("export-logits", "--groups", "counts", "--views", 1, "-o", "other.h5")
    assert said.code == 0
    scores = Cache.open(Path("other.h5")).attributes["teacher_scores"]
    assert scores["head"]["classes"] == 1  # by counts a single digit is a head class


def test_a_run_that_was_scored_on_other_test_images_is_scored_anew(ltkd, story):
    run = runs.find(Path("runs"), "1")
    right, data = run.record["scores"], run.record["data"]
    run.update(data={**data, "test": "0" * 64}, scores={**right, "nll": 99.0})
    assert ltkd("export-logits", 1, "--views", 1, "-o", "other.h5").code == 0
    scores = Cache.open(Path("other.h5")).attributes["teacher_scores"]
    assert scores["nll"] == pytest.approx(right["nll"])


@pytest.mark.parametrize("room", [0, 20_000, 200_000])
def test_a_full_disk_stops_an_export_with_a_hint_and_it_can_go_on(ltkd, story, cache, room):
    command = ("export-logits", "--views", 4, "-o", "mine.h5")
    with disk_of(room):
        said = ltkd(*command)
    assert said.code == 1
    assert "mine.h5" in said.err
    assert said.err.splitlines()[-1].startswith("try: ")
    assert not Path("mine.h5").exists()
    assert ltkd(*command).code == 0
    assert datasets("mine.h5") == datasets(cache)


@pytest.mark.parametrize("given", [(), ("--cache", "runs/0001-teach-ce-resnet8/cache-crop-4.h5")])
def test_a_method_without_a_teacher_takes_images_and_views_of_the_cache_and_no_answers(
    ltkd, story, given
):
    assert ltkd("teach", *TINY, "--imbalance", 5, "--policy", "crop-flip").code == 0
    assert ltkd("export-logits", "--views", 2).code == 0
    said = ltkd("distill", "--method", "ce", *TINY, *given)
    assert said.code == 0
    assert "ce needs no teacher" in said.err
    settings = read_settings(5)
    assert settings["caches"] == []
    assert settings["data"]["imbalance"] == (20.0 if given else 5.0)
    assert settings["views"] == ("crop" if given else "crop-flip")


def test_a_method_that_expects_another_teacher_gives_a_warning(ltkd, story):
    said = ltkd("distill", "--method", "dive", *TINY)
    assert said.code == 0
    (warning,) = [line for line in said.err.splitlines() if line.startswith("warning: ")]
    assert "balanced-softmax" in warning


def read_settings(number):
    return runs.find(Path("runs"), str(number)).settings


@pytest.mark.parametrize("name", ["runs/0001-teach-ce-resnet8/model.safetensors", "notes.txt"])
def test_force_replaces_caches_only(ltkd, story, name):
    file = story / name
    file.touch()
    before = file.read_bytes()
    said = ltkd("export-logits", "1", "--views", 1, "--output", name, "--force")
    assert refused(said, 2, name, "--output")
    assert file.read_bytes() == before


def test_a_link_to_a_cache_that_is_gone_is_no_cache(ltkd, story, cache):
    (story / "runs" / "x").mkdir()
    (story / "runs" / "x" / "gone.h5").symlink_to("/nowhere/gone.h5")
    assert ltkd("distill", *TINY).code == 0
    cache.unlink()
    assert refused(ltkd("distill", *TINY), 1, "runs", "ltkd export-logits")
