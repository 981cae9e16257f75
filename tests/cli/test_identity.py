"""Which runs are seeds of one setting: changed fields of real records, and runs end to end."""

import copy
import json

import pytest

from ltkd_cli import runs
from ltkd_cli.cache.difference import differences
from ltkd_cli.commands.identity import draw_of, setting_of
from ltkd_cli.runs import Run

TINY = ("--model", "resnet8", "--epochs", 1, "--evaluate-every", 0, "--precision", "float32")


@pytest.fixture(scope="module")
def record(told):
    """What run.json holds of a student."""
    return runs.find(told / "runs", "2").record


def changed(told, record, path, value):
    """The student with another value in its record, at a path such as `settings.seed`."""
    other = copy.deepcopy(record)
    *outer, last = path.split(".")
    inside = other
    for name in outer:
        inside = inside[int(name)] if isinstance(inside, list) else inside[name]
    inside[last] = value
    return Run(told, other)


TEACHER = "parents.0.teacher_setting"

SAME = [
    ("settings.seed", 7),
    ("settings.device", "cuda:1"),
    ("settings.evaluate_every", 3),
    ("settings.caches", ["elsewhere/cache.h5"]),
    ("settings.recipe_name", "mine"),
    ("settings.data.root", "/elsewhere"),
    ("parents.0.path", "elsewhere/cache.h5"),
    ("parents.0.teacher_run", "0009-teach-ce-resnet8"),
    ("parents.0.teacher_sha256", "f" * 64),
    ("parents.0.crc_sha256", "f" * 64),
    ("seconds", 1.0),
]

OTHER = [
    ("settings.model", "resnet20"),
    ("settings.head", "cosine:20"),
    ("settings.options.temperature", 3.0),
    ("settings.recipe.epochs", 2),
    ("settings.precision", "bfloat16"),
    ("settings.compile", True),
    ("settings.data.groups", "counts"),
    ("data.train", "f" * 64),
    ("data.test", "f" * 64),
    ("data.validation", "f" * 64),
    ("parents.0.fingerprint", "f" * 64),
    ("parents.0.view_policy", "crop-flip"),
    ("parents.0.view_seed", 1),
    ("parents.0.policy", ["crop", "flip"]),
    ("parents.0.view_version", 0),
    ("parents.0.views_per_image", 5),
    ("parents.0.dtype", "uint8"),
    ("parents.0.autocast", "bfloat16"),
    (f"{TEACHER}.settings.recipe.epochs", 8),
    (f"{TEACHER}.settings.head", "cosine:20"),
    (f"{TEACHER}.settings.method", "balanced-softmax"),
    (f"{TEACHER}.settings.augment", "jitter"),
    (f"{TEACHER}.images.test", "f" * 64),
    (f"{TEACHER}.stages", [{"how": "crt"}]),
    ("rebalanced", [{"how": "crt", "options": {}}]),
]


@pytest.mark.parametrize(("path", "value"), SAME)
def test_machine_seeds_and_places_do_not_make_another_setting(told, record, path, value):
    assert setting_of(changed(told, record, path, value)) == setting_of(Run(told, record))


@pytest.mark.parametrize(("path", "value"), OTHER)
def test_anything_else_makes_another_setting(told, record, path, value):
    other = setting_of(changed(told, record, path, value))
    assert other != setting_of(Run(told, record))
    ((name, _, _),) = differences(setting_of(Run(told, record)), other)
    assert name.split(".")[-1].split("[")[0] in ("stages", "recipe", path.split(".")[-1], "epochs")


def test_another_method_makes_another_setting(told, record):
    of_both = changed(told, record, "settings.options", {"temperature": 2.0})
    other = setting_of(changed(told, of_both.record, "settings.method", "kd"))
    ((name, _, _),) = differences(setting_of(of_both), other)
    assert name == "settings.method"


def test_a_second_teacher_makes_another_setting(told, record):
    two = changed(told, record, "parents", [*record["parents"], *record["parents"]])
    assert setting_of(two) != setting_of(Run(told, record))


@pytest.mark.parametrize(
    ("path", "value"), [("settings.seed", 9), ("parents.0.teacher_sha256", "9" * 64)]
)
def test_another_seed_of_student_or_teacher_is_another_draw(told, record, path, value):
    assert draw_of(changed(told, record, path, value)) != draw_of(Run(told, record))


def of_first_release(told, record, **fields):
    """The student as version 0.1.0 recorded it, with changed fields of its cache."""
    later = ("teacher_setting", "policy", "view_version", "autocast", "dtype")
    parent = {name: value for name, value in record["parents"][0].items() if name not in later}
    return changed(told, record, "parents", [{**parent, **fields}])


def test_a_record_of_the_first_release_is_equal_for_the_very_same_cache_alone(told, record):
    old = setting_of(of_first_release(told, record, path="moved.h5"))
    assert old == setting_of(of_first_release(told, record))
    for name in ("crc_sha256", "teacher_sha256"):
        assert old != setting_of(of_first_release(told, record, **{name: "f" * 64}))
    assert old != setting_of(Run(told, record))


def test_a_teacher_recorded_before_a_setting_existed_had_its_default(told, record):
    later = ("mean", "std", "processes", "freeze", "feature_views", "weights_sha256")
    parent = record["parents"][0]
    settings = parent["teacher_setting"]["settings"]
    older = {name: value for name, value in settings.items() if name not in later}
    assert len(older) == len(settings) - len(later)
    teacher = {**parent["teacher_setting"], "settings": older}
    old = changed(told, record, "parents", [{**parent, "teacher_setting": teacher}])
    assert setting_of(old) == setting_of(Run(told, record))
    teacher["settings"] = {**older, "processes": 2}
    other = changed(told, record, "parents", [{**parent, "teacher_setting": teacher}])
    assert setting_of(other) != setting_of(Run(told, record))


def test_a_setting_is_plain_json(told, record):
    setting = setting_of(Run(told, record))
    assert json.loads(json.dumps(setting)) == setting


def settings_of(ltkd, *names):
    said = ltkd("eval", *names, "--json")
    assert said.code == 0
    return [setting["runs"] for setting in json.loads(said.out)["settings"]]


def test_students_of_teachers_trained_for_longer_are_not_pooled(ltkd, story):
    assert ltkd("teach", *TINY, "--seed", 5, "--name", "brief").code == 0
    assert ltkd("export-logits", "brief", "--views", 4).code == 0
    assert ltkd("distill", *TINY, "--seed", 5, "--name", "of-brief").code == 0
    names = ["0002-distill-bkd-resnet8", "0003-distill-bkd-resnet8", "of-brief"]
    assert settings_of(ltkd, *names) == [names[:2], names[2:]]
    said = ltkd("eval", *names)
    assert "teachers[0].teacher.recipe.epochs 3 and 1" in said.out


def test_students_of_a_rounded_cache_are_not_pooled(ltkd, story):
    assert ltkd("export-logits", "--views", 4, "--dtype", "uint8", "-o", "small.h5").code == 0
    assert ltkd("distill", *TINY, "--seed", 5, "--cache", "small.h5", "--name", "small").code == 0
    assert settings_of(ltkd, "2", "small") == [["0002-distill-bkd-resnet8"], ["small"]]


def test_students_of_students_are_pooled_by_the_whole_line_of_teachers(ltkd, story):
    for number, name in ((2, "a"), (3, "b")):
        assert ltkd("export-logits", number, "--views", 2, "-o", f"{name}.h5").code == 0
        said = ltkd("distill", *TINY, "--method", "kd", "--cache", f"{name}.h5", "--name", name)
        assert said.code == 0
    assert settings_of(ltkd, "a", "b") == [["a", "b"]]
