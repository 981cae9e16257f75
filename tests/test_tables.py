"""The driver of the result tables: what it takes up, what it leaves alone, in which order."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run_examples import KNOWN
from typer.main import get_command

from benchmarks import best_student, cells, kept, workers
from benchmarks.cells import Place, Training
from benchmarks.cifar10_lt import Table, with_others
from benchmarks.rows import PUBLISHED_ROWS, SHORT_ROWS
from ltkd_cli import runs
from ltkd_cli.cli.app import app
from ltkd_cli.cli.app import run as ltkd
from ltkd_cli.methods.finding import find
from ltkd_cli.methods.options import parse_options

ROOT = Path(__file__).parents[1]
CE = Training("ce", "resnet32", "ldam")


def digits(folder, **settings):
    """A place for cells on the embedded digits."""
    return Place(folder, {"data": "digits-lt"}, "cpu", own_policy="crop", **settings)


@pytest.fixture
def place(tmp_path):
    return digits(tmp_path)


def expected(training=CE, seed=0):
    return {**training.settings(), "kind": "teach", "seed": seed, "data": {"imbalance": 100.0}}


def record_of(training=CE, seed=0, **changed):
    """A run.json of such a run, as JSON gives it back."""
    settings = {**expected(training, seed), "device": "cuda", "evaluate_every": 7, **changed}
    kind = settings.pop("kind")
    return json.loads(json.dumps({"kind": kind, "settings": settings}))


def test_a_run_of_the_same_settings_is_taken_up_wherever_its_images_lie():
    record = record_of(data={"data": "/elsewhere", "imbalance": 100.0})
    assert cells.differences(record, expected()) == []


def test_a_run_that_is_older_than_a_setting_has_its_default():
    record = record_of()
    for name in ("drop_last", "optimizer"):
        del record["settings"]["recipe"][name]
    del record["settings"]["options"]["label_smoothing"]
    assert cells.differences(record, expected()) == []


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (record_of(seed=1), "seed"),
        (record_of(data={"imbalance": 50.0}), "data.imbalance"),
        (record_of(Training("ce", "resnet20", "ldam")), "model"),
        (record_of(Training("ce", "resnet32", "ldam", {"epochs": 20})), "recipe.epochs"),
        (record_of(Training("ce", "resnet32", "ldam", head="cosine:20")), "head"),
        (record_of(Training("ce", "resnet32", "ldam", classes="tail")), "classes"),
        (
            record_of(Training("ce", "resnet32", "ldam", options={"label_smoothing": 0.1})),
            "options.label_smoothing",
        ),
    ],
)
def test_a_run_of_other_settings_is_not(other, named):
    (difference,) = cells.differences(other, expected())
    assert difference.startswith(f"{named} is ")


@pytest.mark.parametrize("rows", [PUBLISHED_ROWS, SHORT_ROWS], ids=["published", "short"])
def test_every_training_is_one_that_ltkd_accepts(rows, place):
    for cell in Table(rows, place).cells([0], []):
        name, *arguments = cell.begin
        if name in ("teach", "distill"):
            command = get_command(app).commands[name]
            given = command.make_context(name, list(arguments)).params
            parse_options(find(given["method"]), given["options"] or [])


@pytest.mark.parametrize("rows", [PUBLISHED_ROWS, SHORT_ROWS], ids=["published", "short"])
def test_every_cell_comes_behind_those_that_it_needs(rows, place):
    before = set()
    for cell in Table(rows, place).cells([0, 1, 2], []):
        assert before.issuperset(cell.needs)
        before.add(cell.name)


def test_the_ce_row_is_the_ce_teacher_and_not_trained_twice(place):
    table = Table(PUBLISHED_ROWS, place)
    names = [cell.name for cell in table.cells([0, 1, 2], [])]
    assert "teacher-ce-0" in names
    assert "ce-0" not in names
    ce = next(row for row in PUBLISHED_ROWS if row.title == "ce")
    assert table.folder(ce, 1) == "teacher-ce-1"


def test_a_student_of_another_size_is_trained_beside_its_teacher(place):
    names = [cell.name for cell in Table(SHORT_ROWS, place).cells([0], [])]
    assert {"teacher-ce-0", "ce-0"} <= set(names)


def test_a_chosen_row_brings_its_teacher_and_its_cache(place):
    names = [cell.name for cell in Table(PUBLISHED_ROWS, place).cells([0], ["dive"])]
    teacher = "teacher-balanced-softmax-0"
    assert names == [teacher, f"{teacher}-16-views.h5", "dive-0"]


def test_published_rows_follow_the_schedule_of_their_source():
    recipes = {row.title: row.training.recipe for row in PUBLISHED_ROWS if row.training}
    assert recipes["bkd"] == "ldam"
    assert recipes["dive"] == recipes["teacher, balanced-softmax"] == "bbn"
    assert recipes["balanced-softmax"] == recipes["ldam, deferred"] == "bag-of-tricks"
    assert {row.training.recipe for row in SHORT_ROWS if row.training} == {"short"}


def test_published_rows_have_the_options_of_their_source():
    own = {row.title: row.training.options for row in PUBLISHED_ROWS if row.training}
    assert own["class-balanced, deferred"] == {
        "from_progress": 0.8, "normalise_by": "batch-weights"
    }  # fmt: skip
    assert own["ldam, deferred"] == {"from_progress": 0.795}
    assert own["bkd"] == {"from_progress": 0.8}
    assert own["dive"] == {"temperature": 2.0}
    rows = {row.title: row for row in PUBLISHED_ROWS}
    assert rows["ce, mixup"].training.overrides == {"decay": 0.1}
    assert rows["teacher, cosine"].training.head == "cosine:20"
    assert rows["tau-norm"].strategy == ("--strategy", "tau-norm", "--strength", "1")
    assert rows["mislas"].strategy == ("--strategy", "mislas", "--recipe", "cifar10-lt")


def test_the_best_epoch_may_be_the_last():
    metrics = [
        {"epoch": 2, "test": {"all": 0.5, "head": 0.9, "medium": 0.4, "tail": 0.2}},
        {"epoch": 3},
    ]
    for last, epoch in ((0.4, 2), (0.6, 4)):
        scores = {split: {"accuracy": last} for split in cells.SPLITS}
        record = {"scores": scores, "settings": {"recipe": {"epochs": 4}}}
        assert cells.best_on_test(metrics, record)["epoch"] == epoch
        assert cells.best_on_test([], record) is None
        retrained = {**record, "rebalanced": [{"how": "tau-norm"}, {"recipe": {"epochs": 3}}]}
        assert cells.best_on_test(metrics[:1], retrained)["epoch"] == (2 if epoch == 2 else 3)


def test_runs_of_another_machine_stay_in_the_file_until_the_row_changes(tmp_path):
    file = tmp_path / "table.json"
    one, two, three = ({"train_fingerprint": images} for images in "aab")
    file.write_text(json.dumps({"ce": {"arguments": "teach", "runs": {"ce-1": one}}}))
    new = {"arguments": "teach", "runs": {"ce-0": two}}
    merged = with_others(file, {"ce": new})["ce"]["runs"]
    assert merged == {"ce-0": two, "ce-1": one}
    for runs_here in ({}, {"ce-0": three}):
        other = {"arguments": "teach --head cosine:20", "runs": {**runs_here}}
        assert with_others(file, {"ce": other})["ce"]["runs"] == runs_here


@pytest.mark.parametrize("title", ["ce", "kd"])
def test_runs_of_other_images_are_never_averaged_with_those_in_the_file(tmp_path, title):
    file = tmp_path / "table.json"
    of_jpeg, of_originals = ({"train_fingerprint": images} for images in "ab")
    file.write_text(json.dumps({"ce": {"arguments": "teach", "runs": {"ce-1": of_jpeg}}}))
    rows = {name: {"arguments": "teach", "runs": {}} for name in ("ce", "kd")}
    rows[title]["runs"] = {f"{title}-0": of_originals}
    with pytest.raises(SystemExit, match=r"table\.json has rows of other training images"):
        with_others(file, rows)


def small(epochs):
    overrides = {"epochs": epochs, "batch_size": 64}
    return dataclasses.replace(CE, model="resnet8", recipe="quick", overrides=overrides)


TEACHER = ("teacher-0", small(4), 0)


def replaced(**changed):
    return dataclasses.replace(small(4), **changed)


def with_images(place, **changed):
    return dataclasses.replace(place, images={**place.images, **changed})


def student_of(place):
    return cells.distill(place, "kd-0", replaced(method="kd"), 0, ["teacher-0"])


def rebalanced_by(place, *strategy):
    return cells.rebalance(place, "tau-norm-0", "teacher-0", strategy)


def test_only_re_trainings_are_evaluated_on_the_way(tmp_path):
    place = digits(tmp_path, evaluate_every=2)
    crt = rebalanced_by(place, "--strategy", "crt", "--recipe", "bag-of-tricks").begin
    assert crt[crt.index("--evaluate-every") + 1] == "2"
    assert "--evaluate-every" not in rebalanced_by(place, "--strategy", "tau-norm").begin


def test_cells_are_run_once_each_and_in_their_order(tmp_path, capsys):
    place = digits(tmp_path, evaluate_every=1, views=1)
    student = dataclasses.replace(small(1), method="kd")
    table = [
        cells.teach(place, "teacher-0", small(4), 0),
        cells.export(place, "teacher-0"),
        cells.distill(place, "kd-0", student, 0, ["teacher-0"]),
    ]
    ended = []
    workers.run(table, 2, tmp_path / "logs", lambda: ended.append(len(ended)))
    assert [cell.state() for cell in table] == ["done"] * 3
    assert len(ended) == 3
    begun = capsys.readouterr().out.count("ltkd")
    workers.run(table, 2, tmp_path / "logs")
    assert begun == 3
    assert capsys.readouterr().out == ""
    kept = cells.summary(place, "teacher-0")
    assert kept["best"]["epoch"] in range(1, 5)
    assert kept["recipe"] == json.loads(json.dumps(small(4).settings()["recipe"]))


def test_a_kept_run_is_taken_up_and_knows_no_paths(tmp_path):
    before, after = (digits(tmp_path / name, views=1) for name in "ab")
    assert ltkd([*cells.teach(before, "teacher-0", small(4), 0).begin]) == 0
    folder = kept.keep(before.runs / "teacher-0", tmp_path / "trained")
    texts = [file.read_bytes() for file in folder.iterdir()]
    assert len(texts) == len(kept.FILES)
    assert not any(str(tmp_path).encode() in text for text in texts)

    table = [cells.teach(after, "teacher-0", small(4), 0), cells.export(after, "teacher-0")]
    names = [cell.name for cell in table]
    other_images = {**after.images, "imbalance": 5.0}
    kept.take_up(names, after.runs, other_images, tmp_path / "trained")
    assert [cell.state() for cell in table] == ["missing", "missing"]
    kept.take_up(names, after.runs, after.images, tmp_path / "trained")
    assert [cell.state() for cell in table] == ["done", "missing"]
    assert ltkd([*table[1].command()]) == 0
    assert table[1].state() == "done"


def test_a_cell_that_fails_keeps_those_from_running_that_need_it(tmp_path):
    place = digits(tmp_path, views=1)
    wrong = cells.teach(place, "wrong-0", dataclasses.replace(small(1), model="resnet9"), 0)
    table = [wrong, cells.export(place, "wrong-0")]
    with pytest.raises(SystemExit, match="failed: wrong-0"):
        workers.run(table, 2, tmp_path / "logs")
    assert "resnet9" in (tmp_path / "logs" / "wrong-0.log").read_text()
    assert [cell.state() for cell in table] == ["missing", "missing"]


ENDLESS = """
from pathlib import Path
from benchmarks import cells, workers
training = cells.Training("ce", "resnet8", "quick", {{"epochs": 100000}})
place = cells.Place(Path({runs!r}), {{"data": "digits-lt"}}, "cpu", own_policy="crop")
workers.run([cells.teach(place, "endless-0", training, 0)], 1, place.runs / "logs")
"""


def test_asked_to_stop_it_stops_its_cells_with_their_state_kept(tmp_path):
    driver = subprocess.Popen(
        [sys.executable, "-c", ENDLESS.format(runs=str(tmp_path))],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    metrics = tmp_path / "endless-0" / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text()):
        assert driver.poll() is None
        time.sleep(0.1)
    driver.send_signal(signal.SIGTERM)
    assert driver.wait() == 128 + signal.SIGTERM
    run = runs.read(tmp_path / "endless-0")
    assert run.status == "interrupted"
    assert run.state.exists()
    training = Training("ce", "resnet8", "quick", {"epochs": 100000})
    again = cells.teach(digits(tmp_path), "endless-0", training, 0)
    assert again.command() == ("teach", "--resume", str(run.path))


def test_a_folder_of_another_training_ends_the_program_with_the_difference(tmp_path):
    place = digits(tmp_path)
    runs.create(tmp_path, "teach", "x", record_of()["settings"], "ce-0", **KNOWN)
    with pytest.raises(SystemExit, match=r"recipe\.epochs is 200, not 3"):
        cells.teach(place, "ce-0", dataclasses.replace(CE, overrides={"epochs": 3}), 0).state()


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A teacher, a student of its only view, and the teacher with an adjusted last layer."""
    place = digits(tmp_path_factory.mktemp("story"), views=1)
    strength = ("--strategy", "tau-norm", "--strength", "1")
    for cell in (
        cells.teach(place, *TEACHER),
        cells.export(place, "teacher-0"),
        student_of(place),
        rebalanced_by(place, *strength),
    ):
        assert ltkd([*cell.begin]) == 0
        assert cell.state() == "done"
    return place


@pytest.mark.parametrize(
    ("said", "cell_of"),
    [
        ("views is", lambda p: cells.teach(p, "teacher-0", replaced(policy="cifar-strong"), 0)),
        ("data.validation is 0", lambda p: cells.teach(with_images(p, validation=9), *TEACHER)),
        (
            "data.imbalance_type is 'exp'",
            lambda p: cells.teach(with_images(p, imbalance_type="step"), *TEACHER),
        ),
        (r"views_per_image is \[1\]", lambda p: student_of(dataclasses.replace(p, views=4))),
        (
            "rebalanced by tau-norm strength=1, not by tau-norm strength=0.5",
            lambda p: rebalanced_by(p, "--strategy", "tau-norm", "--strength", "0.5"),
        ),
        (
            "not by crt recipe=bag-of-tricks",
            lambda p: rebalanced_by(p, "--strategy", "crt", "--recipe", "bag-of-tricks"),
        ),
    ],
)
def test_whatever_else_was_trained_ends_the_program_with_the_difference(story, said, cell_of):
    with pytest.raises(SystemExit, match=said):
        cell_of(story).state()


def test_images_that_are_not_as_usual_are_noticed_where_nothing_was_asked(tmp_path):
    place = digits(tmp_path)
    other = with_images(place, validation=9)
    assert ltkd([*cells.teach(other, *TEACHER).begin]) == 0
    assert cells.teach(other, *TEACHER).state() == "done"
    with pytest.raises(SystemExit, match=r"data\.validation is 9, not 0"):
        cells.teach(place, *TEACHER).state()


def test_the_candidates_for_the_best_student_come_behind_what_they_learn_from(tmp_path):
    place = Place(tmp_path, {"data": "images"})
    cells_ = best_student.cells_of(place, best_student.CANDIDATES, epochs=1)
    names = [cell.name for cell in cells_]
    assert len({*names}) == len(names)
    assert {one.stem for one in best_student.CANDIDATES} <= {*names}
    for place_in_order, cell in enumerate(cells_):
        assert {*cell.needs} <= {*names[:place_in_order]}
        assert cell.state() == "missing"
    mean = next(cell for cell in cells_ if cell.name.startswith("strong-0-and"))
    assert mean.begin[1:4] == tuple(str(tmp_path / name) for name in mean.needs)
