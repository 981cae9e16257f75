"""The command that each step names as the next one: it is about what that step has made."""

from pathlib import Path

import pytest

TINY = ("--model", "resnet8", "--epochs", 1, "--evaluate-every", 0)


def last(said):
    assert said.code == 0, said.err
    return said.err.splitlines()[-1]


@pytest.fixture
def two_teachers(ltkd, empty):
    for name in ("old", "new"):
        assert ltkd("teach", *TINY, "--name", name).code == 0


def test_after_an_older_teacher_it_names_that_one(ltkd, two_teachers):
    assert last(ltkd("teach", "--resume", "new")) == "next: ltkd export-logits"
    assert last(ltkd("teach", "--resume", "old")) == "next: ltkd export-logits old"


def test_after_an_older_student_it_names_that_one(ltkd, two_teachers):
    assert ltkd("export-logits", "old", "--views", 1).code == 0
    for name in ("one", "two"):
        assert ltkd("distill", *TINY, "--name", name).code == 0
    assert last(ltkd("distill", "--resume", "one")) == "next: ltkd eval one --split tail"


def test_after_a_cache_that_was_there_it_names_that_one(ltkd, two_teachers):
    for name in ("old", "new"):
        said = last(ltkd("export-logits", name, "--views", 1))
        assert said == "next: ltkd distill --method bkd"
    (path,) = Path("runs/old").glob("*.h5")
    again = last(ltkd("export-logits", "old", "--views", 1))
    assert again == f"next: ltkd distill --method bkd --cache {path}"


def test_after_a_cache_in_another_folder_of_runs_the_student_lands_there(ltkd, empty):
    assert ltkd("teach", *TINY, "--runs", "mine").code == 0
    said = last(ltkd("export-logits", "--views", 1, "--runs", "mine"))
    (path,) = Path("mine").glob("*/*.h5")
    assert said == f"next: ltkd distill --method bkd --cache {path} --runs mine"


@pytest.mark.parametrize(
    ("teacher", "following"),
    [
        (("--method", "balanced-softmax"), "--method dive"),
        (("--head", "cosine:20"), "--method cbd"),
        (("--classes", "tail"), "--method lfme  # with a --cache for each expert"),
        (("--method", "ldam"), "--method cbd"),
    ],
    ids=str,
)
def test_after_the_cache_of_a_teacher_it_names_a_method_for_such_teachers(
    ltkd, empty, teacher, following
):
    assert ltkd("teach", *TINY, *teacher).code == 0
    said = last(ltkd("export-logits", "--views", 1, "--force"))
    assert said == f"next: ltkd distill {following}"
