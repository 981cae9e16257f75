"""Options that do not fit: one sentence, a hint, exit code 2, and no run folder."""

import pytest
from driving import refused

from ltkd_cli.methods.finding import all_names

TEACH = [
    (("--method", "nonsense"), "'nonsense'", "ltkd methods"),
    (("--method", "kd"), "kd", "ltkd distill --method kd"),
    (("--set", "nonsense=1"), "'nonsense'", "ltkd methods ce"),
    (("--set", "label_smoothing=much"), "'much'", "--set label_smooth"),
    (("--set", "label_smoothing=nan"), "'nan'", "--set label_smooth"),
    (("--set", "label_smoothing"), "--set", "ltkd methods ce"),
    (("--average-decay", "1"), "--average-decay", "--help"),
    (("--image-size", "20000"), "20000", "--image-size 32"),
    (("--image-size", "0"), "0", "--image-size 32"),
    (("--recipe", "nonsense"), "'nonsense'", "--recipe"),
    (("--model", "nonsense"), "'nonsense'", "resnet8"),
    (("--model", "torchvision/nonsense"), "'torchvision/nonsense'", "torchvision/NAME"),
    (("--device", "nonsense"), "'nonsense'", "--device cpu"),
    (("--device", "cuda:99"), "'cuda:99'", "--device cpu"),
    (("--precision", "nonsense"), "'nonsense'", "--precision float32"),
    (("--resident", "nonsense"), "'nonsense'", "--resident"),
    (("--policy", "nonsense"), "'nonsense'", "--policy crop+flip"),
    (("--policy", "crop+nonsense:3"), "'nonsense:3'", "--policy crop+flip"),
    (("--policy", "mixup+flip"), "mixup+flip", "--policy crop+flip"),
    (("--policy", "flip+mixup:1", "--classes", "tail"), "flip+mixup:1:1", "--policy flip"),
    (("--mixup", "1", "--classes", "tail"), "mixup:1:1", "--policy crop"),
    (("--classes", "rare"), "'rare'", "--classes"),
    (("--augment", "blur"), "'blur'", "--augment jitter"),
    (("--head", "nonsense"), "'nonsense'", "cosine:20"),
    (("--pretrained", "--model", "resnet8"), "resnet8", ""),
    (("--milestones", "nonsense"), "'nonsense'", "--milestones 0.8,0.9"),
    (("--milestones", "2"), "--milestones", "ltkd teach --help"),
    (("--milestones", "0.5,0.7"), "--milestones", "ltkd teach --help"),
    (("--recipe", "cifar-strong", "--decay", "0.5"), "--decay", "ltkd teach --help"),
    (("--method", "ldam", "--head", "cosine:20"), "cosine:30", "ltkd teach --method ldam"),
    (("--epochs", "0"), "--epochs", "ltkd teach --help"),
    (("--learning-rate", "nan"), "--learning-rate", "ltkd teach --help"),
    (("--mixup", "-1"), "--mixup", "--help"),
    (("--mixup", "1000"), "mixup:1000", "--policy"),
    (("--mixup", "1", "--policy", "mixup:0.2"), "mixup", "--policy"),
    (("--schedule", "nonsense"), "'nonsense'", "--schedule"),
    (("--seed", "-1"), "-1", "--seed 0"),
    (("--seed", str(2**63)), str(2**63), "--seed 0"),
    (("--log-every", "-1"), "--log-every", "--log-every 1"),
    (("--evaluate-every", "-1"), "--evaluate-every", "--evaluate-every 1"),
    (("--evaluate-every", str(2**63)), "--evaluate-every", "--evaluate-every 1"),
    (("--warmup-epochs", str(10**30)), "--warmup-epochs", "ltkd teach --help"),
    (("--validation", str(10**30)), "--validation", "--validation 20"),
    (("--clip-norm", "inf"), "--clip-norm", "ltkd teach --help"),
    (("--groups", "nonsense"), "'nonsense'", "--groups auto"),
    (("--imbalance", "0.5"), "0.5", "--imbalance 100"),
    (("--imbalance-type", "nonsense"), "'nonsense'", "--imbalance-type exp"),
    (("--imbalance-type", "linear", "--imbalance", "2"), "'linear'", "--imbalance-type exp"),
    (("--imbalance-seed", "-1"), "-1", "--imbalance-seed 0"),
    (("--imbalance-seed", str(10**30), "--imbalance", "1"), "seed", "--imbalance-seed 0"),
]


@pytest.mark.parametrize(("options", "name", "hint"), TEACH, ids=[" ".join(t[0]) for t in TEACH])
def test_teach_refuses(ltkd, empty, options, name, hint):
    assert refused(ltkd("teach", *options), 2, name, hint)
    assert not list(empty.iterdir())


def test_an_unknown_method_comes_with_the_list_of_all(ltkd, empty):
    said = ltkd("distill", "--method", "nonsense")
    assert ", ".join(all_names()) in said.err


DISTILL = [
    (("--set", "nonsense=1"), "'nonsense'", "ltkd methods bkd"),
    (("--set", "weight=heavy"), "'heavy'", "--set weight=1.0"),
    (("--method", "kd", "--set", "temperature=0"), "temperature", "--set temp"),
    (("--cutmix", "0.2"), "--cutmix", "--policy crop+cutmix:0.2"),
    (("--recipe", "nonsense"), "'nonsense'", "--recipe ldam"),
    (("--model", "nonsense"), "'nonsense'", "resnet8"),
]


@pytest.mark.parametrize(
    ("options", "name", "hint"), DISTILL, ids=[" ".join(d[0]) for d in DISTILL]
)
def test_distill_refuses(ltkd, story, options, name, hint):
    assert refused(ltkd("distill", *options), 2, name, hint)
    assert len(list((story / "runs").iterdir())) == 3


def test_a_method_for_one_teacher_refuses_several(ltkd, story, cache):
    said = ltkd("distill", "--method", "crd", "--cache", cache, "--cache", cache)
    assert refused(said, 2, "crd", f"--cache {cache}")


def test_a_cache_is_given_once_however_its_path_is_written(ltkd, story, cache):
    said = ltkd("distill", "--method", "kd", "--cache", cache, "--cache", cache.resolve())
    assert refused(said, 2, "--cache")


EXPORT = [
    (("--views", "0"), "--views", "--views 16"),
    (("--views", "2", "--policy", "none"), "none", "--views 1"),
    (("--policy", "nonsense"), "'nonsense'", "--policy crop+flip"),
    (("--policy", "crop+nonsense:3"), "'nonsense:3'", "--policy crop+flip"),
    (("--policy", "mixup+flip"), "mixup+flip", "--policy crop+flip"),
    (("--dtype", "nonsense"), "'nonsense'", "--dtype float16"),
    (("--view-seed", "-1"), "-1", "--view-seed 0"),
    (("--output", "runs"), "runs", "--output cache.h5"),
]


@pytest.mark.parametrize(("options", "name", "hint"), EXPORT, ids=[" ".join(e[0]) for e in EXPORT])
def test_export_refuses(ltkd, story, options, name, hint):
    assert refused(ltkd("export-logits", *options), 2, name, hint)


EVAL = [
    (
        ("1", "--images", "validation"),
        "0001-teach-ce-resnet8",
        "ltkd teach --config runs/0001-teach-ce-resnet8/config.toml --validation 20",
    ),
    (("--split", "nonsense"), "'nonsense'", "--split tail"),
    (("--fail-under", "tail"), "'tail'", "--fail-under tail=0.35"),
    (("--fail-under", "tail=35"), "'tail=35'", "--fail-under tail=0.35"),
    (("--fail-under", "nonsense=0.3"), "'nonsense'", "--fail-under tail=0.3"),
    (("--device", "nonsense"), "'nonsense'", "--device cpu"),
    (
        ("--images", "validation"),
        "0003-distill-bkd-resnet8",
        "ltkd teach --config runs/0001-teach-ce-resnet8/config.toml --validation 20",
    ),
]


@pytest.mark.parametrize(("options", "name", "hint"), EVAL, ids=[" ".join(e[0]) for e in EVAL])
def test_eval_refuses(ltkd, story, options, name, hint):
    assert refused(ltkd("eval", *options), 2, name, hint)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (("teach", "--model", "resnet33"), "'resnet33'"),
        (("teach", "--head", "cosine"), "'cosine'"),
        (("views", "--views", 0), "--views"),
        (("views", "--out", "views.nothing"), "views.nothing"),
        (("export-logits", "1", "--dtype", "nonsense"), "'nonsense'"),
        (("export-logits", "1", "--policy", "nonsense"), "'nonsense'"),
        (("export-logits", "--logits", "none.npy", "--output", "runs"), "runs"),
    ],
    ids=str,
)
def test_what_no_images_could_mend_is_refused_before_they_are_read(ltkd, story, command, name):
    assert refused(ltkd(*command, "--data", "nowhere"), 2, name)


def test_without_tensorboard_no_run_is_begun(ltkd, empty, monkeypatch):
    monkeypatch.setattr("ltkd_cli.training.tensorboard.find_spec", lambda name: None)
    assert refused(ltkd("teach", "--tensorboard"), 2, "tensorboard", "pip install")
    assert not (empty / "runs").exists()


@pytest.mark.parametrize("command", ["data", "views", "doctor"])
def test_images_that_are_named_twice_are_refused(ltkd, empty, command):
    assert refused(ltkd(command, "one", "--data", "two"), 2, "one", "one of the two")


SEEDS = [("a,b", "'a,b'"), ("", "''"), ("1,2,1", "1,2,1"), ("1,-2", "-2")]


@pytest.mark.parametrize(("seeds", "name"), SEEDS)
def test_seeds_are_checked_before_the_first_is_trained(ltkd, story, seeds, name):
    assert refused(ltkd("distill", "--seeds", seeds), 2, name, "--seed")
    assert len(list((story / "runs").iterdir())) == 3


def test_the_names_of_all_seeds_must_be_free_before_the_first_is_trained(ltkd, story):
    (story / "runs/mine-2").mkdir()
    said = ltkd("distill", "--seeds", "1,2", "--name", "mine")
    assert refused(said, 1, "runs/mine-2", "ltkd runs")
    assert not (story / "runs/mine-1").exists()


@pytest.mark.parametrize(
    "name",
    [
        *("../outside", ".hidden", "", "a/b", "7", "last", "-x", "two\nlines", "long" * 60),
    ],
)
def test_a_run_is_called_by_a_plain_name(ltkd, empty, name):
    assert refused(ltkd("teach", "--name", name), 1, repr(name), "--name")
    assert not list(empty.iterdir())


def test_a_run_name_that_is_taken_is_refused_before_any_work(ltkd, story):
    said = ltkd("teach", "--name", "0001-teach-ce-resnet8")
    assert refused(said, 1, "runs/0001-teach-ce-resnet8", "ltkd runs")


def test_a_runs_folder_that_cannot_be_made_is_named(ltkd, empty):
    (empty / "file").write_text("")
    said = ltkd("teach", "--runs", "file", "--model", "resnet8", "--epochs", 1)
    assert refused(said, 1, "file", "--runs")


@pytest.mark.parametrize(
    ("command", "name", "hint"),
    [
        (("eval",), "runs", "ltkd teach"),
        (("export-logits",), "runs", "ltkd teach"),
        (("distill",), "runs", "ltkd export-logits"),
        (("cache", "info"), "runs", "ltkd export-logits"),
        (("cache", "verify"), "runs", "ltkd export-logits"),
        (("cache", "info", "mine.h5"), "mine.h5", "--output mine.h5"),
        (("eval", "mine"), "'mine'", "ltkd runs"),
        (("eval", "7"), "'7'", "ltkd runs"),
        (("teach", "--resume", "last"), "runs", "ltkd runs"),
        (("distill", "--resume", "mine"), "'mine'", "ltkd runs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_is_not_there_yet_is_said_with_the_command_that_makes_it(
    ltkd, empty, command, name, hint
):
    assert refused(ltkd(*command), 1, name, hint)


@pytest.mark.parametrize(
    "command",
    [
        *(("data",), ("doctor",), ("eval",), ("cache", "info"), ("teach", "--data")),
        *(("distill", "--cache"), ("export-logits",), ("teach", "--resume"), ("views", "--data")),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("ending", ["", ".txt", ".h5", ".npz"])
def test_a_name_that_no_file_can_have_is_named(ltkd, empty, command, ending):
    said = ltkd(*command, "x" * 300 + ending)
    assert said.code in (1, 2)
    assert refused(said, said.code, "xxx")


def test_the_largest_seed_can_be_recorded(ltkd, empty):
    small = ("--model", "resnet8", "--epochs", 1, "--evaluate-every", 0)
    assert ltkd("teach", *small, "--seed", 2**63 - 1).code == 0
    assert ltkd("eval").code == 0


def test_no_runs_yet_is_no_error(ltkd, empty):
    said = ltkd("runs")
    assert (said.code, said.out) == (0, "")
    assert "ltkd teach" in said.err


def test_a_resumed_run_takes_no_other_settings(ltkd, story):
    said = ltkd("teach", "--resume", "1", "--epochs", 9)
    assert refused(said, 2, "--epochs", "ltkd teach --resume 1")


def test_an_option_of_eval_for_distill_is_none(ltkd, empty):
    assert refused(ltkd("distill", "--views", 3), 2, "--views", "ltkd distill")


def test_a_batch_of_one_image_that_cannot_be_normalised_is_refused(ltkd):
    said = ltkd("teach", "--model", "torchvision/resnet18", "--batch-size", 1, "--epochs", 1)
    assert refused(said, 1, "a single image", "--batch-size 2")
