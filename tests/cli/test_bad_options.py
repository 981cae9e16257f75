"""Options that do not fit: one sentence, a hint, exit code 2, and no run folder."""

import pytest
from driving import refused

from ltkd_cli.methods.finding import all_names

TEACH = [
    (("--method", "nonsense"), "no method 'nonsense'", "ltkd methods"),
    (("--method", "kd"), "Method kd learns from a teacher", "ltkd distill --method kd"),
    (("--set", "nonsense=1"), "Method ce has no option 'nonsense'", "ltkd methods ce"),
    (("--set", "label_smoothing=much"), "takes a number, and 'much' is not", "--set label_smooth"),
    (("--set", "label_smoothing=nan"), "takes a number, and 'nan' is not", "--set label_smooth"),
    (("--set", "label_smoothing"), "--set takes NAME=VALUE", "ltkd methods ce"),
    (("--average-decay", "1"), "--average-decay must be at least 0 and below 1", "--help"),
    (("--image-size", "20000"), "up to 4,096, not 20000", "--image-size 32"),
    (("--set", "smoothing"), "--set takes NAME=VALUE", "ltkd methods ce"),
    (("--recipe", "nonsense"), "no recipe 'nonsense'; there are quick, ldam, bbn", "--recipe"),
    (("--model", "nonsense"), "no network 'nonsense'", "resnet8"),
    (("--model", "torchvision/nonsense"), "no network 'torchvision/nonsense'", "torchvision/NAME"),
    (("--device", "nonsense"), "no device 'nonsense'", "--device cpu"),
    (("--device", "cuda:99"), "'cuda:99' is not there", "--device cpu"),
    (("--precision", "nonsense"), "no precision 'nonsense'", "--precision float32"),
    (("--policy", "nonsense"), "no view policy 'nonsense'", "--policy crop-flip"),
    (("--head", "nonsense"), "no head 'nonsense'", "cosine:20"),
    (("--pretrained", "--model", "resnet8"), "no pretrained weights for resnet8", ""),
    (("--milestones", "nonsense"), "--milestones takes shares", "--milestones 0.8,0.9"),
    (("--milestones", "2"), "--milestones are shares in (0, 1]", "ltkd teach --help"),
    (("--epochs", "0"), "--epochs must be from 1 to 10,000,000", "ltkd teach --help"),
    (("--learning-rate", "nan"), "--learning-rate must be above 0", "ltkd teach --help"),
    (("--mixup", "1", "--cutmix", "1"), "--mixup and cutmix exclude each other", ""),
    (("--schedule", "nonsense"), "no schedule 'nonsense'", "--schedule cosine"),
    (("--seed", "-1"), "A seed is a whole number from 0", "--seed 0"),
    (("--seed", str(2**63)), "A seed is a whole number from 0", "--seed 0"),
    (("--log-every", "-1"), "--log-every takes 0 or a number", "--log-every 1"),
    (("--evaluate-every", "-1"), "--evaluate-every takes 0 or", "--evaluate-every 1"),
    (("--groups", "nonsense"), "not by 'nonsense'", "--groups auto"),
    (("--imbalance", "0.5"), "The imbalance is 1 or more", "--imbalance 100"),
    (("--imbalance-type", "nonsense"), "exp or step, not 'nonsense'", "--imbalance-type exp"),
    (("--imbalance-seed", "-1"), "The imbalance seed", "--imbalance-seed 0"),
    (("--image-size", "0"), "a number of pixels", "--image-size 32"),
]


@pytest.mark.parametrize(("options", "problem", "hint"), TEACH, ids=[" ".join(t[0]) for t in TEACH])
def test_teach_refuses(ltkd, empty, options, problem, hint):
    assert refused(ltkd("teach", *options), 2, problem, hint)
    assert not list(empty.iterdir())


def test_an_unknown_method_comes_with_the_list_of_all(ltkd, empty):
    said = ltkd("distill", "--method", "nonsense")
    assert f"there are {', '.join(all_names())}." in said.err


DISTILL = [
    (("--set", "nonsense=1"), "Method bkd has no option 'nonsense'", "ltkd methods bkd"),
    (("--set", "weight=heavy"), "Option weight of bkd takes a number", "--set weight=1.0"),
    (("--method", "kd", "--set", "temperature=0"), "temperature must be above 0", "--set temp"),
    (("--mixup", "0.2"), "Method bkd cannot train on mixed images", "leave out --mixup"),
    (("--recipe", "nonsense"), "no recipe 'nonsense'", "--recipe ldam"),
    (("--model", "nonsense"), "no network 'nonsense'", "resnet8"),
]


@pytest.mark.parametrize(
    ("options", "problem", "hint"), DISTILL, ids=[" ".join(d[0]) for d in DISTILL]
)
def test_distill_refuses(ltkd, story, options, problem, hint):
    assert refused(ltkd("distill", *options), 2, problem, hint)
    assert len(list((story / "runs").iterdir())) == 3


def test_a_method_for_one_teacher_refuses_several(ltkd, story, cache):
    said = ltkd("distill", "--method", "crd", "--cache", cache, "--cache", cache)
    assert refused(said, 2, "Method crd learns from one teacher, not from 2", f"--cache {cache}")


EXPORT = [
    (("--views", "0"), "--views must be from 1 to 10,000", "--views 16"),
    (("--views", "2", "--policy", "none"), "Policy none has one view of an image", "--views 1"),
    (("--policy", "nonsense"), "no view policy 'nonsense'", "--policy crop-flip"),
    (("--dtype", "nonsense"), "not as 'nonsense'", "--dtype float16"),
    (("--view-seed", "-1"), "A seed is a whole number", "--view-seed 0"),
    (("--output", "runs"), "runs is a folder", "--output cache.h5"),
]


@pytest.mark.parametrize(
    ("options", "problem", "hint"), EXPORT, ids=[" ".join(e[0]) for e in EXPORT]
)
def test_export_refuses(ltkd, story, options, problem, hint):
    assert refused(ltkd("export-logits", *options), 2, problem, hint)


EVAL = [
    (("--split", "nonsense"), "no split 'nonsense'; there are all, head", "--split tail"),
    (("--fail-under", "tail"), "--fail-under takes SPLIT=SHARE", "--fail-under tail=0.35"),
    (("--fail-under", "tail=35"), "a share in [0, 1], not 'tail=35'", "--fail-under tail=0.35"),
    (
        ("--fail-under", "nonsense=0.3"),
        "knows the splits all, head, medium, tail, not 'nonsense'",
        "--fail-under tail=0.3",
    ),
    (("--device", "nonsense"), "no device 'nonsense'", "--device cpu"),
]


@pytest.mark.parametrize(("options", "problem", "hint"), EVAL, ids=[" ".join(e[0]) for e in EVAL])
def test_eval_refuses(ltkd, story, options, problem, hint):
    assert refused(ltkd("eval", *options), 2, problem, hint)


SEEDS = [
    ("a,b", "--seeds takes whole numbers, not 'a,b'"),
    ("", "--seeds takes whole numbers, not ''"),
    ("1,2,1", "--seeds 1,2,1 names a seed twice"),
    ("1,-2", "A seed is a whole number from 0"),
]


@pytest.mark.parametrize(("seeds", "problem"), SEEDS)
def test_seeds_are_checked_before_the_first_is_trained(ltkd, story, seeds, problem):
    assert refused(ltkd("distill", "--seeds", seeds), 2, problem, "--seed")
    assert len(list((story / "runs").iterdir())) == 3


def test_the_names_of_all_seeds_must_be_free_before_the_first_is_trained(ltkd, story):
    (story / "runs/mine-2").mkdir()
    said = ltkd("distill", "--seeds", "1,2", "--name", "mine")
    assert refused(said, 1, "There is runs/mine-2 already", "ltkd runs")
    assert not (story / "runs/mine-1").exists()


@pytest.mark.parametrize(
    "name",
    [
        *("../outside", ".hidden", "", "a/b", "7", "last", "-x", "two\nlines", "long" * 60),
    ],
)
def test_a_run_is_called_by_a_plain_name(ltkd, empty, name):
    assert refused(ltkd("teach", "--name", name), 1, "cannot be the name of a run folder", "--name")
    assert not list(empty.iterdir())


def test_a_run_name_that_is_taken_is_refused_before_any_work(ltkd, story):
    said = ltkd("teach", "--name", "0001-teach-ce-resnet8")
    assert refused(said, 1, "There is runs/0001-teach-ce-resnet8 already", "ltkd runs")


def test_a_runs_folder_that_cannot_be_made_is_named(ltkd, empty):
    (empty / "file").write_text("")
    said = ltkd("teach", "--runs", "file", "--model", "resnet8", "--epochs", 1)
    assert said.code == 1
    assert "No run folder can be made in file" in said.err


@pytest.mark.parametrize(
    ("command", "problem", "hint"),
    [
        (("eval",), "no finished run in runs yet", "ltkd teach"),
        (("export-logits",), "no finished teach run in runs yet", "ltkd teach"),
        (("distill",), "no cache in runs yet", "ltkd export-logits"),
        (("cache", "info"), "no cache in runs yet", "ltkd export-logits"),
        (("cache", "verify"), "no cache in runs yet", "ltkd export-logits"),
        (("cache", "info", "mine.h5"), "There is no cache mine.h5", "--output mine.h5"),
        (("eval", "mine"), "There is no run 'mine' in runs", "ltkd runs"),
        (("eval", "7"), "There is no run '7' in runs", "ltkd runs"),
        (("teach", "--resume", "last"), "no interrupted run in runs", "ltkd runs"),
        (("distill", "--resume", "mine"), "There is no run 'mine' in runs", "ltkd runs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_is_not_there_yet_is_said_with_the_command_that_makes_it(
    ltkd, empty, command, problem, hint
):
    assert refused(ltkd(*command), 1, problem, hint)


def test_no_runs_yet_is_no_error(ltkd, empty):
    said = ltkd("runs")
    assert (said.code, said.out) == (0, "")
    assert "ltkd teach" in said.err


def test_a_resumed_run_takes_no_other_settings(ltkd, story):
    said = ltkd("teach", "--resume", "1", "--epochs", 9, "--imbalance", 5)
    assert refused(said, 2, "--imbalance, --epochs cannot be given", "ltkd teach --resume 1")


def test_an_option_of_eval_for_distill_is_none(ltkd, empty):
    assert refused(ltkd("distill", "--views", 3), 2, "No such option: --views", "ltkd distill")
