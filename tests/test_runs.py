"""Odd run folders: each is refused by a sentence that names it, and spoils nothing else."""

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from run_examples import DONE, KNOWN, SCORES, create, rewrite

from ltkd_cli import runs
from ltkd_cli.errors import CheckpointError, LtkdError, RunDamaged, RunError

LATER = "2099-01-01T00:00:00+00:00"


def made_by(code, *arguments):
    """Runs code in a process of its own; its exit code."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], check=False
    ).returncode


# run.json

TEXTS = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'{"name": "mine"}',
    b"\xff",
    b"\x00" * 100,
    b'{"format": 1, "format": 1}',
    b'{"format": NaN}',
    b'{"format": 1, "kind": 1e400}',
    b'{"format": ' + b"1" * 5000 + b"}",
    b"[" * 100_000,
    b'{"format": [[' * 50_000,
]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:20]))
def test_a_file_that_is_no_record_is_named_and_does_not_hide_the_others(tmp_path, text):
    good, bad = create(tmp_path), create(tmp_path)
    (bad.path / "run.json").write_bytes(text)
    with pytest.raises(RunError) as caught:
        runs.read(bad.path)
    assert str(bad.path / "run.json") in caught.value.problem
    assert caught.value.hint
    found, odd = runs.survey(tmp_path)
    assert [run.name for run in found] == [good.name]
    assert {name: str(error) for name, error in odd.items()} == {bad.name: str(caught.value)}


CACHE = {
    "kind": "cache",
    "path": "x.h5",
    "crc_sha256": "3" * 64,
    "teacher_sha256": "4" * 64,
    "teacher_method": "ce",
    "teacher_model": "resnet8",
    "views_per_image": 4,
}
"""A parent as version 0.1 has recorded it."""

STAGE = {"how": "tau-norm", "options": {"strength": None, "validation": None, "views": 8}}

FIELDS = [
    {"format": "1"},
    {"kind": None},
    {"kind": "rm -rf"},
    {"kind": ["teach"]},
    {"status": None},
    {"status": "ready"},
    {"created": None},
    {"created": "2026-01-01T00:00:00"},
    {"created": "yesterday"},
    {"created": 5},
    {"settings": None},
    {"settings": []},
    {"settings": {}},
    {"settings": {"method": None}},
    *({"settings": {"method": "ce", name: "x"}} for name in ("data", "recipe", "options")),
    {"settings": {"method": "ce", "caches": [None]}},
    {"settings": {"method": "ce", "processes": "2"}},
    {"data": None},
    {"data": {**KNOWN["data"], "class_counts": [-1, 1]}},
    {"data": {**KNOWN["data"], "class_names": ["0"]}},
    {"data": {**KNOWN["data"], "groups": {"rule": "rank"}}},
    {"parents": None},
    {"parents": [{}]},
    {"parents": [{"kind": "cache", "path": "x.h5"}]},
    *(
        {"parents": [{**CACHE, name: "x"}]}
        for name in ("teacher_weights", "teacher_outputs", "teacher_runs", "teacher_setting")
    ),
    {"parents": [{**CACHE, "teacher_weights": {"source": "x.pth"}}]},
    {"parents": [{**CACHE, "view_policy": 1}]},
    {"seconds": None},
    {"seconds": "12"},
    {"seconds": -1},
    {"threads": 0},
    {"threads": 10**9},
    {"threads": True},
    {"sequence": 0},
    {"rebalanced": [{"how": "crt"}]},
    {"rebalanced": [{**STAGE, "strength": "1"}]},
    {"rebalanced": [{**STAGE, "temperature": None}]},
    {"scores": None},
    {"scores": {**SCORES, "tail": None}},
    {"scores": {**SCORES, "tail": {**SCORES["tail"], "accuracy": 54}}},
    {"weights_sha256": None},
    {"weights_sha256": "x"},
    {"command": "ltkd teach"},
    {"label": {"deep": {"er": 1}}},
]


@pytest.mark.parametrize("fields", FIELDS, ids=str)
def test_a_field_that_is_missing_or_odd_is_named_and_does_not_hide_the_others(tmp_path, fields):
    good, bad = create(tmp_path, **DONE), create(tmp_path, **DONE)
    rewrite(bad, **fields)
    with pytest.raises(RunError) as caught:
        runs.read(bad.path)
    assert str(bad.path / "run.json") in caught.value.problem
    assert next(iter(fields)) in caught.value.problem
    found, odd = runs.survey(tmp_path)
    assert ([run.name for run in found], len(odd)) == ([good.name], 1)
    assert runs.newest(tmp_path).name == good.name


def test_what_version_0_1_did_not_record_is_not_missed(tmp_path):
    run = create(tmp_path, **{**DONE, "parents": [CACHE], "rebalanced": [STAGE]})
    assert runs.read(run.path).record["parents"] == [CACHE]


def test_fields_of_a_later_version_are_kept(tmp_path):
    run = create(tmp_path)
    rewrite(run, weather={"sunny": True})
    run = runs.read(run.path)
    run.update(status="interrupted")
    assert json.loads((run.path / "run.json").read_text())["weather"] == {"sunny": True}


def test_what_could_not_be_read_again_is_not_written(tmp_path):
    run = create(tmp_path)
    before = (run.path / "run.json").read_bytes()
    for odd in ({"status": "ready"}, {"seconds": float("nan")}, {"status": "done"}):
        with pytest.raises(ValueError, match=next(iter(odd)) + "|nan|NaN|missing"):
            run.update(**odd)
    assert (run.path / "run.json").read_bytes() == before


def flipped(data):
    """The bytes with one bit of each flipped in turn."""
    for place in range(len(data)):
        other = bytearray(data)
        other[place] ^= 1 << place % 8
        yield bytes(other)


def test_no_byte_of_a_record_changes_unnoticed(tmp_path):
    run = create(tmp_path, **DONE)
    file = run.path / "run.json"
    outcomes = []
    for data in flipped(file.read_bytes()):
        file.write_bytes(data)
        try:
            assert runs.read(run.path).record == run.record  # another kind of space
        except RunError as error:
            outcomes.append(error)
    assert all(str(run.path) in error.problem for error in outcomes)
    assert sum(isinstance(error, RunDamaged) for error in outcomes) > 100


@pytest.mark.parametrize(
    "fields",
    [
        {"scores": {**SCORES, "nll": 1.5}},
        {"settings": {"method": "kd"}},
        {"seconds": None},
        {"later": 1},
        {"checksum": None},
        {"checksum": "0" * 16},
        {"checksum": 5},
        {"format": 1},
    ],
    ids=str,
)
def test_a_record_that_another_program_edited_is_refused_with_4_and_hides_no_other(
    tmp_path, fields
):
    good, bad = create(tmp_path, **DONE), create(tmp_path, **DONE)
    record = {**json.loads((bad.path / "run.json").read_text()), **fields}
    kept = {name: value for name, value in record.items() if value is not None}
    (bad.path / "run.json").write_text(json.dumps(kept))
    with pytest.raises(RunDamaged) as caught:
        runs.read(bad.path)
    assert str(bad.path / "run.json") in caught.value.problem
    assert (caught.value.exit_code, "checksum" in str(caught.value.hint)) == (4, True)
    found, odd = runs.survey(tmp_path)
    assert ([run.name for run in found], len(odd)) == ([good.name], 1)


def test_a_record_of_format_1_is_read_with_a_warning_and_written_with_a_checksum(tmp_path):
    run = create(tmp_path)
    run.log({"epoch": 1})
    record = {**run.record, "format": 1}
    del record["checksum"]
    (run.path / "run.json").write_text(json.dumps(record))
    run.metrics.write_text('{"epoch": 1}\n')
    old = runs.read(run.path)
    assert [str(run.path / "run.json") in warning for warning in old.warnings] == [True]
    assert old.read_metrics() == [{"epoch": 1}]
    old.update(status="interrupted")
    new = runs.read(run.path)
    assert (new.warnings, new.record["format"]) == ((), 2)
    assert new.read_metrics() == [{"epoch": 1}]


def make_folder(path):
    path.mkdir()


def make_dangling(path):
    path.symlink_to(path.parent / "nothing")


def make_loop(path):
    path.symlink_to(path)


def make_endless(path):
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [make_folder, os.mkfifo, make_dangling, make_loop, make_endless])
def test_what_is_no_file_is_named_and_not_waited_for(tmp_path, make):
    good, bad = create(tmp_path, **DONE), create(tmp_path)
    (bad.path / "run.json").unlink()
    make(bad.path / "run.json")
    with pytest.raises(RunError) as caught:
        runs.read(bad.path)
    assert bad.name in caught.value.problem
    found, odd = runs.survey(tmp_path)
    assert ([run.name for run in found], len(odd)) == ([good.name], 1)
    with pytest.raises(RunError):
        runs.find(tmp_path, "2")


def test_a_folder_of_runs_that_is_a_file_is_named(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(RunError, match="runs"):
        runs.survey(tmp_path / "runs")


# metrics.jsonl


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b"\xff", b"{}", b'{"epoch": "1"}', b'{"epoch": NaN}', b"[" * 100_000, b""]
)
def test_an_odd_line_of_the_metrics_is_named_by_file_and_number(tmp_path, line):
    run = create(tmp_path)
    run.log({"epoch": 1})
    with run.metrics.open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(RunError) as caught:
        run.keep_metrics_to(5)
    assert str(run.metrics) in caught.value.problem
    assert "2" in caught.value.problem


def test_no_byte_of_the_metrics_changes_unnoticed(tmp_path):
    run = create(tmp_path)
    for epoch in (1, 2):
        run.log({"epoch": epoch, "terms": {"label": 0.5 / epoch}})
    whole, known = run.metrics.read_bytes(), run.read_metrics()
    refused = []
    for data in flipped(whole[: whole.index(b"\n")]):
        run.metrics.write_bytes(data + whole[len(data) :])
        try:
            assert run.read_metrics() == known
        except RunError as error:
            refused.append(error.problem)
    assert len(refused) > 50
    assert all(str(run.metrics) in problem for problem in refused)


def test_a_line_of_the_metrics_without_its_checksum_is_refused(tmp_path):
    run = create(tmp_path)
    run.metrics.write_text('{"epoch": 1}\n')
    with pytest.raises(RunDamaged, match=r"metrics\.jsonl"):
        run.read_metrics()


def test_metrics_in_a_pipe_are_not_waited_for(tmp_path):
    run = create(tmp_path)
    os.mkfifo(run.metrics)
    with pytest.raises(RunError, match=r"metrics\.jsonl"):
        run.read_metrics()


# names


@pytest.mark.parametrize(
    "name",
    ["run.json", "x.safetensors", "x.h5", "n" * 300, "a\0b", "a\x1b[31m", "a\nb", "a\udcffb",
     "\u202egpj", "..", "a/b", "7", "last", "-x", "", ".hidden"],
)  # fmt: skip
def test_a_name_that_would_be_taken_for_something_else_is_refused(tmp_path, name):
    with pytest.raises(RunError):
        runs.check_name(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("which", ["n" * 5000, "9" * 5000, "a\0b", "\udcff", "", "٣"])
def test_a_run_that_cannot_be_is_not_found(tmp_path, which):
    with pytest.raises(RunError):
        runs.find(tmp_path, which)


def test_a_name_that_is_a_date_is_no_number(tmp_path):
    create(tmp_path, name="2026-12-01")
    assert create(tmp_path).name.startswith("0001-")
    with pytest.raises(RunError, match="no run '2026'"):
        runs.find(tmp_path, "2026")


def test_a_number_that_two_runs_have_names_neither(tmp_path):
    for name in ("0001-one", "0001-two"):
        create(tmp_path, name=name)
    with pytest.raises(RunError, match=r"2 runs in .* have the number 1") as caught:
        runs.find(tmp_path, "1")
    assert caught.value.hint == "0001-one or 0001-two"
    assert runs.find(tmp_path, "0001-two").name == "0001-two"


def test_a_folder_with_a_name_that_a_terminal_would_obey_is_no_run(tmp_path):
    good, bad = create(tmp_path), create(tmp_path)
    bad.path.rename(tmp_path / "0002-\x1b]0;mine\x07")
    found, odd = runs.survey(tmp_path)
    assert ([run.name for run in found], len(odd)) == ([good.name], 1)
    (error,) = odd.values()
    assert "\x1b" not in error.problem


def test_a_dangling_link_takes_its_name(tmp_path):
    (tmp_path / "mine").symlink_to(tmp_path / "nothing")
    with pytest.raises(RunError, match="mine"):
        create(tmp_path, name="mine")


# order


def test_a_clock_that_was_wrong_once_spoils_no_order(tmp_path):
    first = create(tmp_path, name="b", **DONE)
    rewrite(create(tmp_path, name="c", **DONE), created=LATER)
    rewrite(create(tmp_path, name="a", **DONE), created="1971-01-01T00:00:00+00:00")
    assert [run.name for run in runs.all_runs(tmp_path)] == [first.name, "c", "a"]
    assert runs.newest(tmp_path).name == "a"


def test_a_date_in_the_future_is_told(tmp_path):
    run = create(tmp_path, **DONE)
    rewrite(run, created=LATER)
    (found,), odd = runs.survey(tmp_path)
    assert (found.name, odd) == (run.name, {})
    (warning,) = found.warnings
    assert run.name in warning
    assert "2099" in warning


def test_clocks_of_two_machines_may_differ_a_little(tmp_path):
    soon = (datetime.now(UTC) + timedelta(seconds=30)).isoformat()
    rewrite(create(tmp_path, **DONE), created=soon)
    assert runs.all_runs(tmp_path)[0].warnings == ()


def test_a_run_of_version_0_1_from_the_future_is_not_the_newest_of_them(tmp_path):
    for name, created in (("a", LATER), ("b", "2026-01-01T00:00:00+00:00")):
        rewrite(create(tmp_path, name=name, **DONE), created=created, sequence=None)
    assert runs.newest(tmp_path).name == "b"
    assert create(tmp_path, name="c", **DONE).name == runs.newest(tmp_path).name


def test_the_largest_place_in_the_order_keeps_nobody_from_beginning(tmp_path):
    rewrite(create(tmp_path, **DONE), sequence=10**15)
    later = create(tmp_path, **DONE)
    assert runs.newest(tmp_path).name == later.name


@pytest.mark.parametrize("created", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_the_first_and_the_last_date_there_is_are_dates(tmp_path, created):
    rewrite(create(tmp_path, **DONE), created=created)
    create(tmp_path)
    assert len(runs.all_runs(tmp_path)) == 2


# folders that appear whole

KILLED_WHILE_MAKING = """
import os, signal, sys
from pathlib import Path
from run_examples import create
calls = 0
def fsync(descriptor, real=os.fsync):
    global calls
    calls += 1
    if calls == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    real(descriptor)
def rename(*arguments, real=os.rename):
    os.kill(os.getpid(), signal.SIGKILL)
os.fsync = fsync
if sys.argv[2] == "rename":
    os.rename = os.replace = Path.rename = Path.replace = rename
    sys.argv[2] = "0"
create(Path(sys.argv[1]), name="mine")
"""


@pytest.fixture
def module_path(monkeypatch):
    """Lets processes of a test import what the test imports."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))


@pytest.mark.usefixtures("module_path")
@pytest.mark.parametrize("moment", ["0", "1", "2", "3", "rename"])
def test_killed_at_any_moment_the_folder_is_whole_or_not_there(tmp_path, moment):
    code = made_by(KILLED_WHILE_MAKING, tmp_path, moment)
    assert code == (0 if moment == "0" else -signal.SIGKILL)
    found, odd = runs.survey(tmp_path)
    assert odd == {}
    if not found:
        found = [create(tmp_path, name="mine")]
    assert [run.name for run in found] == ["mine"]
    create(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0001-teach-ce-resnet8", "mine"]
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["run.json"]


def test_what_is_being_made_is_neither_listed_nor_removed(tmp_path):
    with runs.creating(tmp_path, "rebalance", "crt", {"method": "ce"}) as run:
        run.per_class.write_text("index\n")
        assert runs.survey(tmp_path) == ([], {})
        other = create(tmp_path)
        assert run.per_class.exists()
        run.update(**KNOWN, **DONE)
    assert [each.name for each in runs.all_runs(tmp_path)] == [other.name, run.name]
    assert run.path == tmp_path / "0002-rebalance-crt"
    assert sorted(path.name for path in run.path.iterdir()) == ["per_class.csv", "run.json"]


def fill(root, end):
    """Makes a run as a rebalance does; `end` is called when all is written."""
    with runs.creating(root, "rebalance", "crt", {"method": "ce"}, "mine") as run:
        run.per_class.write_text("index\n")
        run.update(**KNOWN, **DONE)
        end()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), LtkdError("no"), ValueError()])
def test_an_error_while_a_folder_is_filled_leaves_nothing(tmp_path, error):
    def stop():
        raise error

    with pytest.raises(type(error)):
        fill(tmp_path, stop)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_while_a_folder_is_filled_leaves_nothing(tmp_path):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(RunError, match="No space left"):
        fill(tmp_path, full)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_was_taken_meanwhile_is_not_overwritten(tmp_path):
    with pytest.raises(RunError, match="mine"):
        fill(tmp_path, (tmp_path / "mine").mkdir)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert list((tmp_path / "mine").iterdir()) == []


def test_only_hidden_folders_of_our_own_are_removed(tmp_path):
    others = [".git", ".0123456789abcdef.new.old", ".0123456789ABCDEF.new"]
    for name in others:
        (tmp_path / name).mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / ".0123456789abcdef.new").symlink_to(elsewhere)
    (tmp_path / ".fedcba9876543210.new").mkdir()
    create(tmp_path, name="mine")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*others, "elsewhere", ".0123456789abcdef.new", "mine"}


def hold_and_die(path):
    run = runs.read(path)
    with run.held():
        (path / ".0123456789abcdef.partial").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_training_was_writing_goes_at_its_next_start(tmp_path):
    run = create(tmp_path)
    (run.path / "cache-crop-4.h5.partial").write_text("an export")
    process = multiprocessing.get_context("spawn").Process(target=hold_and_die, args=(run.path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(list(run.path.iterdir())) == 3
    with run.held():
        left = sorted(path.name for path in run.path.iterdir())
    assert left == ["cache-crop-4.h5.partial", "run.json"]
    assert runs.read(run.path).status == "interrupted"


# links that somebody else put there


@pytest.mark.parametrize("name", [".run.json.{pid}", ".run.json.partial", "run.json"])
def test_a_link_in_the_folder_leads_no_update_outside(tmp_path, name):
    run = create(tmp_path / "runs")
    outside = tmp_path / "outside"
    outside.write_text("mine")
    link = run.path / name.format(pid=os.getpid())
    link.unlink(missing_ok=True)
    link.symlink_to(outside)
    run.update(status="interrupted")
    assert outside.read_text() == "mine"
    assert runs.read(run.path).record["status"] == "interrupted"


def test_a_link_leads_no_metrics_outside(tmp_path):
    run = create(tmp_path / "runs")
    outside = tmp_path / "outside"
    outside.write_text("")
    run.metrics.symlink_to(outside)
    with pytest.raises(OSError, match="symbolic links"):
        run.log({"epoch": 1})
    run.keep_metrics_to(0)
    run.log({"epoch": 1})
    assert outside.read_text() == ""
    assert run.read_metrics() == [{"epoch": 1}]


# weights


def test_weights_that_are_gone_or_no_file_are_named(tmp_path):
    run = create(tmp_path, **DONE)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        run.verified_weights()
    os.mkfifo(run.weights)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        run.verified_weights()


def test_an_unfinished_rebalance_of_version_0_1_is_not_told_to_resume(tmp_path):
    run = create(tmp_path, kind="rebalance")
    with pytest.raises(RunError) as caught:
        run.require_done()
    assert "--resume" not in str(caught.value.hint)
