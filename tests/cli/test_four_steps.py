"""The four commands as a newcomer types them, and what each leaves behind."""

import csv
import json
from contextlib import chdir

import pytest

SMALL = ("--model", "resnet8", "--epochs", "1")


@pytest.fixture(scope="module")
def typed(ltkd, tmp_path_factory):
    """What the four plain commands said, one after the other, in an empty folder."""
    with chdir(tmp_path_factory.mktemp("empty")):
        return [
            ltkd("teach", *SMALL),
            ltkd("export-logits"),
            ltkd("distill", "--method", "bkd", *SMALL),
            ltkd("eval", "--split", "tail"),
        ]


def test_the_four_plain_commands_work_in_an_empty_folder(typed):
    assert [said.code for said in typed] == [0, 0, 0, 0]
    assert "tail" in typed[3].out


def test_each_takes_the_newest_of_its_kind_and_names_it_on_stderr(typed):
    assert "using the newest teacher, 0001-teach-ce-resnet8" in typed[1].err
    assert "using the newest cache, runs/0001-teach-ce-resnet8/cache-crop-16.h5" in typed[2].err
    assert "using the newest run, 0002-distill-bkd-resnet8" in typed[3].err


def test_results_go_to_stdout_and_the_rest_to_stderr(typed):
    assert [said.out.split(":")[0] for said in typed[:3]] == [
        "runs/0001-teach-ce-resnet8",
        "runs/0001-teach-ce-resnet8/cache-crop-16.h5",
        "runs/0002-distill-bkd-resnet8",
    ]
    assert all(len(said.out.splitlines()) == 1 for said in typed[:3])
    assert not any("using the newest" in said.out or "next:" in said.out for said in typed)


def test_each_names_the_next_one(typed):
    following = [said.err.splitlines()[-1] for said in typed[:3]]
    assert following == [
        "next: ltkd export-logits",
        "next: ltkd distill --method bkd",
        "next: ltkd eval --split tail",
    ]


def test_the_next_command_finds_runs_that_lie_elsewhere(ltkd, empty):
    first = ltkd("teach", *SMALL, "--runs", "other place")
    command = first.err.splitlines()[-1].removeprefix("next: ltkd ")
    assert command == "export-logits --runs 'other place'"
    second = ltkd("export-logits", "--runs", "other place", "--views", 1)
    path = "other place/0001-teach-ce-resnet8/cache-crop-1.h5"
    command = second.err.splitlines()[-1].removeprefix("next: ltkd ")
    assert command == f"distill --method bkd --cache '{path}' --runs 'other place'"


def test_the_cache_is_described_before_the_student_trains(typed):
    lines = typed[2].err.splitlines()
    for fact in ("float16 logits of 10 classes and 64 features", "views of each: 16",
                 "resnet8 trained by ce", "teacher's accuracy", "bkd reads"):  # fmt: skip
        place = next(i for i, line in enumerate(lines) if fact in line)
        assert place < next(i for i, line in enumerate(lines) if "resnet8 by bkd" in line)


@pytest.mark.parametrize(
    "command",
    [
        ("eval",),
        ("eval", "1", "2", "--split", "tail"),
        ("eval", "runs/0001-teach-ce-resnet8/cache-crop-4.h5"),
        ("methods",),
        ("methods", "bkd"),
        ("data",),
        ("runs",),
        ("cache", "info"),
    ],
    ids=" ".join,
)
def test_json_is_one_document_and_nothing_else(ltkd, story, command):
    said = ltkd(*command, "--json")
    assert said.code == 0
    assert json.loads(said.out)


def test_nothing_is_wrapped_or_padded_where_no_terminal_is(ltkd, story):
    said = ltkd("eval", "1", "2", "3")
    table = said.out.split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in table] == ["run", "0001-teach-ce-resnet8", "2"]
    assert all(line == line.rstrip() for line in said.out.splitlines())


def test_a_training_is_quiet_where_no_terminal_is(ltkd, empty):
    said = ltkd("teach", *SMALL, "--evaluate-every", 0)
    assert len(said.err.splitlines()) == 2  # what is trained, and the next command


def test_log_every_prints_lines_with_terms_rate_and_speed(ltkd, empty):
    said = ltkd("teach", "--model", "resnet8", "--epochs", 2, "--log-every", 2)
    (line,) = [line for line in said.err.splitlines() if "images/s" in line]
    assert line.startswith("  epoch 2: label ")
    assert "learning rate" in line
    assert "waiting" in line


def test_a_finished_run_holds_everything_that_came_of_it(story):
    for folder in sorted((story / "runs").iterdir()):
        record = json.loads((folder / "run.json").read_text())
        assert record["status"] == "done"
        assert {"settings", "environment", "data", "parents", "scores", "command"} <= set(record)
        assert record["settings"]["recipe"]["epochs"] == len(metrics(folder))
        assert (folder / "model.safetensors").stat().st_size > 100_000
        assert not (folder / "state.pt").exists()


def test_every_second_epoch_but_the_last_is_evaluated_on_the_way(ltkd, empty):
    short = ("--model", "resnet8", "--epochs", 4, "--batch-size", 256)
    assert ltkd("teach", *short, "--evaluate-every", 2).code == 0
    lines = metrics(empty / "runs/0001-teach-ce-resnet8")
    assert [line["epoch"] for line in lines if "test" in line] == [2]


def test_a_moving_average_is_what_is_evaluated_on_the_way_and_saved(ltkd, empty):
    short = ("--model", "resnet8", "--epochs", 2, "--evaluate-every", 1, "--batch-size", 64)
    for decay in (0, 0.9):
        said = ltkd("teach", *short, "--average-decay", decay, "--name", f"decay-{decay}")
        assert said.code == 0
    plain, averaged = empty / "runs/decay-0", empty / "runs/decay-0.9"
    before, now = (metrics(folder)[0] for folder in (plain, averaged))
    assert before["terms"] == now["terms"]  # the training is the same
    assert before["test"] != now["test"]
    weights = [(each / "model.safetensors").read_bytes() for each in (plain, averaged)]
    assert weights[0] != weights[1]


def test_a_student_names_its_teacher_with_hashes(story):
    teacher = json.loads((story / "runs/0001-teach-ce-resnet8/run.json").read_text())
    student = json.loads((story / "runs/0002-distill-bkd-resnet8/run.json").read_text())
    (parent,) = student["parents"]
    assert parent["teacher_sha256"] == teacher["weights_sha256"]
    assert parent["fingerprint"] == teacher["data"]["train"] == student["data"]["train"]
    assert len(parent["crc_sha256"]) == 64


def test_metrics_have_a_line_for_each_epoch(story):
    lines = metrics(story / "runs/0001-teach-ce-resnet8")
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert all(line["terms"]["label"] > 0 for line in lines)


def test_the_table_by_class_adds_up_to_the_score(story):
    folder = story / "runs/0001-teach-ce-resnet8"
    scores = json.loads((folder / "run.json").read_text())["scores"]
    with (folder / "per_class.csv").open() as file:
        rows = list(csv.DictReader(file))
    correct = sum(int(row["correct"]) for row in rows)
    assert correct / scores["all"]["images"] == pytest.approx(scores["all"]["accuracy"])


def test_run_folders_are_numbered(story):
    assert sorted(folder.name for folder in (story / "runs").iterdir()) == [
        "0001-teach-ce-resnet8",
        "0002-distill-bkd-resnet8",
        "0003-distill-bkd-resnet8",
    ]


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
