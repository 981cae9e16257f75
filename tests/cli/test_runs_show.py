"""`ltkd runs show`: settings, teachers and theirs, scores, files, and how to repeat a run."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from driving import refused
from run_examples import edit

STUDENT = "0003-distill-bkd-resnet8"


def shown(ltkd, *arguments):
    said = ltkd("runs", "show", *arguments, "--json")
    assert said.code == 0, said.err
    return json.loads(said.out)


def test_a_student_is_shown_with_its_cache_and_the_run_behind_it(ltkd, story):
    found = shown(ltkd, 3)
    assert (found["name"], found["status"]) == (STUDENT, "done")
    (cache,) = found["ancestors"]
    (teacher,) = cache["ancestors"]
    assert (cache["kind"], cache["there"]) == ("cache", True)
    assert (teacher["name"], teacher["there"]) == ("0001-teach-ce-resnet8", True)
    record = json.loads((story / "runs" / teacher["name"] / "run.json").read_text())
    assert teacher["sha256"] == record["weights_sha256"]
    assert found["files"]["model.safetensors"] > 0
    assert found["scores"]["tail"]["low"] is not None


def test_the_newest_run_is_shown_where_none_is_named(ltkd, story):
    assert shown(ltkd)["name"] == STUDENT


def test_the_command_that_is_shown_repeats_the_run(ltkd, story):
    command = shlex.split(shown(ltkd, 1)["repeat"])
    assert ltkd(*command[1:], "--name", "again").code == 0
    first, again = (shown(ltkd, name) for name in (1, "again"))
    assert first["weights_sha256"] == again["weights_sha256"]


def test_a_rebalanced_student_leads_to_its_student_cache_and_teacher(ltkd, story):
    assert ltkd("rebalance", 3, "--strength", 1, "--name", "adjusted").code == 0
    (student,) = shown(ltkd, "adjusted")["ancestors"]
    (cache,) = student["ancestors"]
    (teacher,) = cache["ancestors"]
    assert [student["kind"], cache["kind"], teacher["kind"]] == ["run", "cache", "run"]


def test_what_is_gone_or_replaced_is_said_to_be(ltkd, story):
    shutil.copy("runs/0002-distill-bkd-resnet8/run.json", "runs/0001-teach-ce-resnet8/run.json")
    (cache,) = shown(ltkd, 3)["ancestors"]
    assert not cache["ancestors"][0]["there"]  # a run with other weights is not the teacher
    shutil.rmtree("runs/0001-teach-ce-resnet8")
    (cache,) = shown(ltkd, 3)["ancestors"]
    assert not cache["there"]
    said = ltkd("runs", "show", 3)
    assert said.code == 0
    assert "not found here" in said.out


def test_a_run_that_names_itself_as_its_parent_ends(ltkd, story):
    file = Path(f"runs/{STUDENT}/run.json")
    own = {"kind": "run", "name": STUDENT, "path": f"runs/{STUDENT}"}

    def change(record):
        record["parents"] = [{**own, "weights_sha256": record["weights_sha256"]}]

    edit(file, change)
    (parent,) = shown(ltkd, 3)["ancestors"]
    assert parent["ancestors"] == []


def test_a_run_that_is_not_done_has_no_scores_and_is_shown(ltkd, story):
    file = Path(f"runs/{STUDENT}/run.json")

    def change(record):
        for name in ("scores", "weights_sha256", "validation_scores"):
            record.pop(name, None)
        record["status"] = "running"

    edit(file, change)
    said = ltkd("runs", "show", 3)
    assert said.code == 0
    assert "interrupted" in said.out


def test_a_run_without_a_file_of_settings_has_no_command(ltkd, story):
    Path(f"runs/{STUDENT}/config.toml").unlink()
    assert shown(ltkd, 3)["repeat"] is None


def test_what_is_no_run_is_refused(ltkd, story):
    assert refused(ltkd("runs", "show", 9), 1, "'9'", "ltkd runs")
    assert refused(ltkd("runs", "show", "--runs", "none"), 1, "none", "ltkd teach")


def test_listing_is_as_before_with_and_without_a_folder(ltkd, story):
    bare = ltkd("runs")
    assert (bare.code, bare.out) == (0, ltkd("runs", "list").out)
    assert ltkd("runs", "runs").out == bare.out
    assert len(json.loads(ltkd("runs", "--json").out)) == 3
    assert ltkd("runs", "--runs", "runs").out == bare.out
    Path("empty").mkdir()
    assert "ltkd teach" in ltkd("runs", "empty").err
    assert refused(ltkd("runs", "shwo"), 1, "shwo", "ltkd runs --help")


def test_a_run_may_be_named_by_the_folder_one_is_in(ltkd, story, monkeypatch):
    monkeypatch.chdir("runs/0001-teach-ce-resnet8")
    named = json.loads(ltkd("runs", "show", ".", "--json").out)["name"]
    assert named == "0001-teach-ce-resnet8"


def test_what_a_rebalancing_chose_is_shown(ltkd, story):
    assert ltkd("rebalance", "1", "--strategy", "tau-norm").code == 0
    chosen = json.loads(ltkd("runs", "show", "--json").out)["rebalanced"][0]["strength"]
    assert f"strength {chosen:.3g}" in ltkd("runs", "show").out


def test_showing_loads_no_pytorch(story):
    code = (
        "import sys; from ltkd_cli.cli.app import run; run(['runs', 'show', '3']); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
