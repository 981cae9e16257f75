"""Run folders of an earlier version, damaged, odd or half made, as the commands meet them."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from driving import refused
from run_examples import edit

from ltkd_cli import runs
from ltkd_cli.commands.settings import Settings
from ltkd_cli.errors import RunError

ARCHIVE = Path(__file__).parents[1] / "archive" / "run-0.1.0"
"""`ltkd teach --model resnet8 --epochs 3 --evaluate-every 1`, by version 0.1.0."""


@pytest.fixture
def old(empty):
    """The archived run, in the folder of runs of the current folder."""
    return Path(shutil.copytree(ARCHIVE, empty / "runs" / "old"))


def change(run, **fields):
    """Other fields in run.json, as another program might write them."""
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, **fields}))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# a run of version 0.1.0


def test_a_run_of_0_1_0_is_listed(ltkd, old):
    said = ltkd("runs")
    assert (said.code, said.out.splitlines()[1].split()[:3]) == (0, ["old", "digits-lt", "54.0"])
    assert old.name not in said.err


def test_a_run_of_0_1_0_has_the_scores_that_it_recorded(ltkd, old):
    said = ltkd("eval", "old", "--json")
    assert said.code == 0
    assert [w for w in json.loads(said.out)["warnings"] if "runs/old/run.json" in w]
    (result,) = json.loads(said.out)["results"]
    recorded = json.loads((old / "run.json").read_text())["scores"]
    for split in ("all", "head", "medium", "tail"):
        assert result[split]["accuracy"] == recorded[split]["accuracy"]


def test_a_finished_run_of_0_1_0_is_left_as_it_is_by_resume(ltkd, old):
    before = contents(old)
    said = ltkd("teach", "--resume", "old")
    assert (said.code, "old is finished" in said.err) == (0, True)
    assert contents(old) == before


def test_an_unfinished_run_of_0_1_0_says_how_to_go_on(ltkd, old):
    change(old, status="running")
    said = ltkd("eval", "old")
    assert said.code == 1
    assert said.err.splitlines()[-1] == "try: ltkd teach --resume runs/old"


def test_an_unfinished_rebalance_of_0_1_0_is_not_trained(ltkd, old):
    record = json.loads((old / "run.json").read_text())
    for name in ("data", "parents", "seconds", "scores", "weights_sha256"):
        del record[name]
    (old / "run.json").write_text(json.dumps({**record, "kind": "rebalance", "status": "started"}))
    assert "interrupted" in ltkd("runs").out
    for command in (("eval", "old"), ("teach", "--resume", "old"), ("teach", "--resume", "last")):
        said = ltkd(*command)
        assert (said.code, "--resume" in said.err) == (1, False)


# weights that are not the run's


@pytest.mark.parametrize("command", ["eval", "export-logits", "rebalance"])
def test_weights_that_are_not_the_run_s_are_an_integrity_failure(ltkd, old, command):
    weights = bytearray((old / "model.safetensors").read_bytes())
    weights[-1] ^= 1  # a good file, with another number
    (old / "model.safetensors").write_bytes(weights)
    before = contents(old)
    said = ltkd(command, "old")
    assert said.code == 4
    assert "runs/old/model.safetensors" in said.err
    assert contents(old) == before
    assert [path.name for path in old.parent.iterdir()] == ["old"]


# a run.json that was changed


def test_scores_that_were_changed_are_an_integrity_failure_and_others_are_listed(ltkd, story):
    file = Path("runs/0002-distill-bkd-resnet8/run.json")
    file.write_text(file.read_text().replace('"accuracy": 0.', '"accuracy": 0.1', 1))
    said = ltkd("runs")
    assert (said.code, len(said.out.splitlines()), str(file) in said.err) == (0, 3, True)
    for command in ("eval", "rebalance"):
        assert refused(ltkd(command, "2"), 4, str(file), "checksum")


# odd run.json


def test_a_run_without_a_seed_has_that_of_the_default(ltkd, story):
    edit(story / "runs/0002-distill-bkd-resnet8/run.json", lambda run: run["settings"].pop("seed"))
    assert ltkd("eval", 2, 3).code == 0


@pytest.mark.parametrize(
    "fields",
    [{"created": "2026-01-01"}, {"seconds": None}, {"threads": 0}, {"scores": {"all": 1}}],
    ids=str,
)
def test_one_odd_run_stops_neither_the_list_nor_the_others(ltkd, old, fields):
    odd = Path(shutil.copytree(old, old.parent / "odd"))
    change(odd, **fields)
    listed = ltkd("runs")
    assert (listed.code, len(listed.out.splitlines())) == (0, 2)
    assert "runs/odd/run.json" in listed.err
    named = ltkd("eval", "odd")
    assert (named.code, "runs/odd/run.json" in named.err) == (1, True)
    assert ltkd("eval", "--split", "all").code == 0  # of the newest


@pytest.mark.parametrize(
    ("section", "fields"),
    [
        ("recipe", {"batch_size": 0}),
        ("recipe", {"batch_size": "32"}),
        ("recipe", {"learning_rate": None}),
        ("recipe", {"milestones": [[]]}),
        ("recipe", {"unknown": 1}),
        ("data", {"image_size": -1.5}),
        ("options", {"unknown": 1}),
        ("options", {"label_smoothing": "0"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("command", [("eval", "old"), ("teach", "--resume", "old")], ids=str)
def test_odd_settings_are_named_with_their_file(ltkd, old, command, section, fields):
    settings = json.loads((old / "run.json").read_text())["settings"]
    status = "done" if command[0] == "eval" else "interrupted"
    change(old, status=status, settings={**settings, section: {**settings[section], **fields}})
    assert ltkd("runs").code == 0
    said = ltkd(*command)
    assert (said.code, "runs/old/run.json" in said.err) == (1, True)
    assert next(iter(fields)).replace("_", "-") in said.err.replace("_", "-")


@pytest.mark.parametrize("text", ["{", "[]", '{"epoch": 0}'])
def test_an_odd_line_of_the_metrics_is_named(ltkd, old, text):
    change(old, status="interrupted")
    with (old / "metrics.jsonl").open("a") as file:
        file.write(f"{text}\n")
    said = ltkd("teach", "--resume", "old")
    assert (said.code, "runs/old/metrics.jsonl" in said.err) == (1, True)


ODD = [None, 0, -1, 1.5, 10**17, "", "\x1b[31m", "9" * 5000, [], {}, [[]], {"a": 1}, True, 1e308]


def places(value, inside=()):
    """The way to every value in a record, as keys and indices."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in items:
        yield (*inside, key)
        if isinstance(each, dict | list):
            yield from places(each, (*inside, key))


def spoiled(text, random):
    """A run.json with one odd or missing value, or with a flipped bit."""
    if random.random() < 0.3:
        flipped = bytearray(text.encode())
        flipped[random.randrange(len(flipped))] ^= 1 << random.randrange(8)
        return bytes(flipped)
    record = json.loads(text)
    *way, last = random.choice(list(places(record)))
    inside = record
    for key in way:
        inside = inside[key]
    if random.random() < 0.3:
        del inside[last]
    else:
        inside[last] = random.choice(ODD)
    return json.dumps(record).encode()


def test_no_spoiled_record_gives_more_than_a_sentence(ltkd, old):
    text, random = (old / "run.json").read_text(), Random(0)
    for number in range(300):
        folder = old.parent / f"{number:04d}-spoiled"
        folder.mkdir()
        (folder / "run.json").write_bytes(spoiled(text, random))
        with suppress(RunError):
            run = runs.read(folder)
            assert run.method
            Settings.of(run)
    said = ltkd("runs")
    assert (said.code, "\x1b" in said.out + said.err) == (0, False)
    assert len(said.out.splitlines()) - 1 + said.err.count("run.json") >= 300


PARENT = {
    "kind": "cache",
    "path": "x.h5",
    "crc_sha256": "",
    "teacher_sha256": "",
    "teacher_method": "ce",
    "teacher_model": "resnet8",
    "views_per_image": 4,
}
STAGE = {"how": "tau-norm", "options": {"strength": None, "validation": None, "views": 8}}


@pytest.mark.parametrize(
    "fields",
    [
        {"settings": {"method": "ce", "data": "digits-lt"}},
        {"parents": [{**PARENT, "teacher_weights": "x.pth"}]},
        {"parents": [{**PARENT, "teacher_outputs": ["x.npy"]}]},
        {"rebalanced": [{**STAGE, "strength": "1"}]},
    ],
    ids=str,
)
def test_an_odd_run_is_not_shown_but_named(ltkd, old, fields):
    change(old, **fields)
    for more in ((), ("--json",)):
        assert refused(ltkd("runs", "show", "old", *more), 1, "runs/old/run.json")


def test_a_run_with_other_parents_than_its_settings_name_does_not_go_on(ltkd, old):
    change(old, status="interrupted", parents=[PARENT])
    assert refused(ltkd("teach", "--resume", "old"), 1, "runs/old/run.json")


def test_a_parent_at_a_path_that_no_file_can_have_is_not_found(ltkd, old):
    for path in ("none\0/x.h5", "\ud800/x.h5"):
        change(old, parents=[{**PARENT, "path": path, "teacher_run": path}])
        said = ltkd("runs", "show", "old")
        assert (said.code, "not found" in said.out) == (0, True)


def test_no_spoiled_record_is_shown_with_more_than_a_sentence(ltkd, old):
    text, random = (old / "run.json").read_text(), Random(1)
    for _ in range(60):
        (old / "run.json").write_bytes(spoiled(text, random))
        said = ltkd("runs", "show", "old")
        assert said.code == 0 or refused(said, said.code, "runs/old/run.json")
        assert said.code in (0, 1, 4)


def test_a_run_from_the_future_is_told_and_is_listed(ltkd, old):
    change(old, created="2099-01-01T00:00:00+00:00")
    said = ltkd("runs")
    assert (said.code, "old" in said.out) == (0, True)
    assert "old is dated 2099-01-01" in said.err


def test_the_list_for_programs_has_every_warning_and_every_unreadable_run(ltkd, old):
    odd, ahead = (Path(shutil.copytree(old, old.parent / name)) for name in ("odd", "ahead"))
    change(odd, seconds=None)
    change(ahead, created="2099-01-01T00:00:00+00:00")
    entries = {entry["name"]: entry for entry in json.loads(ltkd("runs", "--json").out)}
    assert {name: entry["status"] for name, entry in entries.items()} == {
        "old": "done",
        "ahead": "done",
        "odd": "unreadable",
    }
    assert ["runs/old/run.json" in text for text in entries["old"]["warnings"]] == [True]
    assert ["2099" in text for text in entries["ahead"]["warnings"]] == [False, True]
    assert ["runs/odd/run.json" in text for text in entries["odd"]["warnings"]] == [True]
    assert entries["odd"]["hint"]


def test_a_run_without_a_checksum_is_shown_with_a_warning(ltkd, old):
    assert "runs/old/run.json" in ltkd("runs", "show", "old").err
    (warning,) = json.loads(ltkd("runs", "show", "old", "--json").out)["warnings"]
    assert "runs/old/run.json" in warning


# what a terminal would obey


def test_no_escape_in_a_file_reaches_the_terminal(ltkd, old):
    evil = "\x1b]0;mine\x07\x9b31m"
    record = json.loads((old / "run.json").read_text())
    change(old, label=evil, data={**record["data"], "name": evil})
    broken = Path(shutil.copytree(old, old.parent / "broken"))
    change(broken, status=evil)
    named = Path(shutil.copytree(old, old.parent / f"named{evil}"))
    for command in (("runs",), ("eval", "old"), ("eval", broken.name), ("eval", named.name)):
        said = ltkd(*command)
        assert not set(evil) & set("\x1b\x07\x9b") & set(said.out + said.err)


def test_the_name_in_an_error_is_escaped(ltkd, empty):
    said = ltkd("eval", "\x1b[31mnone\udcff")
    assert said.code == 1
    assert "\x1b" not in said.err
    assert "none" in said.err


# a rebalance that does not come to its end

KILLED = """
import os, signal, sys
from pathlib import Path
from ltkd_cli.cli.app import run
def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "rename":
    Path.rename = kill  # all is written, and the folder gets its name
else:
    from ltkd_cli import models
    models.save = kill
run(["rebalance", "old", "--views", "1"])
"""


@pytest.mark.parametrize("moment", ["rename", "weights"])
def test_a_killed_rebalance_leaves_no_run(ltkd, old, moment):
    script = [sys.executable, "-c", KILLED, moment]
    assert subprocess.run(script, check=False).returncode == -signal.SIGKILL
    said = ltkd("runs")
    assert (said.code, len(said.out.splitlines())) == (0, 2)
    assert len(list(old.parent.iterdir())) == 2
    known = runs.find(old.parent, "old").record
    fields = {name: known[name] for name in ("data", "parents", "seconds")}
    runs.create(old.parent, "teach", "ce", known["settings"], "next", **fields)
    assert sorted(path.name for path in old.parent.iterdir()) == ["next", "old"]


def test_a_rebalance_on_a_full_disk_leaves_no_run(ltkd, old, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    said = ltkd("rebalance", "old", "--views", "1", "--name", "mine")
    assert (said.code, "No space left" in said.err) == (1, True)
    assert [path.name for path in old.parent.iterdir()] == ["old"]
