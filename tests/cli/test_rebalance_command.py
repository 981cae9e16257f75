"""`ltkd rebalance` from the command line, on small networks trained on the digits."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from ltkd_cli import models, runs
from ltkd_cli.cache import Cache
from ltkd_cli.cli.app import run as ltkd
from ltkd_cli.data import DataSpec, load
from ltkd_cli.inference import predict
from ltkd_cli.methods.losses import log_prior
from ltkd_cli.views.policy import Policy

STRATEGIES = ("crt", "lws", "mislas", "tau-norm", "logit-adjust")
SMALL = ("--views", "2", "--validation", "5")


def run_rebalance(root, which, strategy, *options, name):
    arguments = ["rebalance", which, "--strategy", strategy, "--runs", str(root), "--name", name]
    assert ltkd([*arguments, *SMALL, *options]) == 0
    return runs.find(root, name)


def hashes(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of finished runs: two seeds of one setting, and one with a cosine head."""
    root = tmp_path_factory.mktemp("trained")
    small = ("--runs", str(root), "--model", "resnet8", "--epochs", "1", "--evaluate-every", "0")
    for seed in ("0", "1"):
        assert ltkd(["teach", "--seed", seed, "--name", f"seed{seed}", *small]) == 0
    assert ltkd(["teach", "--head", "cosine:16", "--name", "cosine", *small]) == 0
    return root


@pytest.fixture(scope="module")
def rebalanced(trained, tmp_path_factory):
    """A folder with one run rebalanced by every strategy, called by its name, only to be read."""
    root = shutil.copytree(trained, tmp_path_factory.mktemp("rebalanced") / "runs")
    for strategy in STRATEGIES:
        run_rebalance(root, "seed0", strategy, name=strategy)
    return root


@pytest.fixture
def root(trained, tmp_path):
    """A copy of the finished runs, to add to."""
    return shutil.copytree(trained, tmp_path / "runs")


@pytest.fixture
def rebalance(root):
    """rebalance(run, strategy, ...) -> the new run, which is called as told or like `strategy`."""

    def call(which, strategy, *options, name=None):
        return run_rebalance(root, which, strategy, *options, name=name or strategy)

    return call


def test_the_run_it_came_from_stays_as_it_was(trained, rebalanced):
    assert hashes(rebalanced / "seed0") == hashes(trained / "seed0")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_it_makes_a_run_like_any_other_with_another_last_layer(rebalanced, strategy):
    source, made = runs.find(rebalanced, "seed0"), runs.find(rebalanced, strategy)
    assert (made.kind, made.done, made.settings) == ("rebalance", True, source.settings)
    assert made.method == f"ce + {strategy}"
    old, new = models.load(source.weights), models.load(made.weights)
    assert new.spec == old.spec
    before = old.state_dict()
    changed = {k for k, value in new.state_dict().items() if not torch.equal(value, before[k])}
    assert changed
    assert changed <= {"head.weight", "head.bias"}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_run_json_says_what_was_chosen_and_where_it_came_from(rebalanced, strategy):
    source, made = runs.find(rebalanced, "seed0"), runs.find(rebalanced, strategy)
    (parent,) = made.record["parents"]
    assert parent["kind"] == "run"
    assert parent["weights_sha256"] == source.record["weights_sha256"]
    (stage,) = made.record["rebalanced"]
    assert stage["how"] == strategy
    assert stage["options"] == {"strength": None, "validation": 5, "views": 2}
    assert stage["validation_images"] == 50
    assert 0 <= stage["validation_before"] <= 1
    if strategy in ("crt", "lws", "mislas"):
        assert stage["recipe"]["learning_rate"] == (0.1 if strategy == "mislas" else 0.2)
        assert stage["recipe"]["moving_statistics"] is False
    else:
        assert len(stage["curve"]) == 21
        assert stage["strength"] in [strength for strength, _ in stage["curve"]]


@pytest.mark.parametrize("strategy", ["crt", "logit-adjust"])
def test_the_same_command_gives_the_same_weights(rebalanced, rebalance, strategy):
    again = rebalance("seed0", strategy)
    assert (
        again.record["weights_sha256"] == runs.find(rebalanced, strategy).record["weights_sha256"]
    )


def test_the_adjusted_network_gives_adjusted_logits(root, rebalance):
    made = rebalance("seed0", "logit-adjust", "--strength", "0.5")
    data = load(DataSpec(**made.settings["data"]))
    cpu = torch.device("cpu")
    old, new = (
        predict(models.load(run.weights), data.test, cpu, policy=Policy("none")).double()
        for run in (runs.find(root, "seed0"), made)
    )
    prior = log_prior(torch.tensor(data.train.class_counts())).double()
    wanted = (old - 0.5 * prior) / made.record["rebalanced"][0]["temperature"]
    torch.testing.assert_close(new, wanted, rtol=1e-4, atol=1e-4)


def test_it_says_what_validation_and_test_were_before(rebalance, capsys):
    capsys.readouterr()
    made = rebalance("seed0", "crt")
    told = capsys.readouterr()
    assert "validation accuracy" in told.err
    assert "test accuracy before" in told.err
    assert "training images, and optimistic" in told.err
    assert made.name in told.out


def test_a_choice_on_training_images_is_warned_of(rebalance, capsys):
    capsys.readouterr()
    rebalance("seed0", "tau-norm")
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if "seed0 held no" in line]
    assert "chosen on 50 of its training images" in warning
    assert "--validation 20" in warning


def test_validation_images_that_fare_worse_are_warned_of(story, capsys):
    assert ltkd(["rebalance", "1", "--strength", "100", "--name", "worse", *SMALL]) == 0
    (stage,) = runs.find(Path("runs"), "worse").record["rebalanced"]
    assert stage["validation_after"] == pytest.approx(0.1)  # all are taken for the rarest class
    assert stage["validation_before"] > 0.1
    told = capsys.readouterr().err
    assert "made the validation images worse; 0001-teach-ce-resnet8 may be the better" in told


def test_other_test_images_than_those_of_the_run_are_warned_of(root, rebalance, capsys):
    source = runs.find(root, "seed0")
    source.update(data={**source.record["data"], "test": "0" * 64})
    capsys.readouterr()
    rebalance("seed0", "tau-norm", "--strength", "1")
    told = capsys.readouterr().err
    assert "test images of digits-lt are not those that seed0 was scored on" in told
    assert "worse" not in told


@pytest.mark.parametrize(
    ("strategy", "chosen"), [("tau-norm", None), ("logit-adjust", "the temperature of")]
)
def test_a_strength_that_is_given_is_not_said_to_be_chosen(rebalance, capsys, strategy, chosen):
    capsys.readouterr()
    rebalance("seed0", strategy, "--strength", "1")
    told = capsys.readouterr().err
    warnings = [line for line in told.splitlines() if line.startswith("warning: seed0 held no")]
    assert [chosen in line and "strength" not in line for line in warnings] == [True] * bool(chosen)
    assert ("nothing is chosen" in told) == (chosen is None)


@pytest.mark.parametrize(
    ("strategy", "options", "wanted"),
    [
        ("crt", ("--recipe", "bag-of-tricks", "--epochs", "2"), {"batch_size": 128, "epochs": 2}),
        ("lws", ("--epochs", "2", "--learning-rate", "0.3"), {"learning_rate": 0.3, "epochs": 2}),
        (
            "mislas",
            ("--recipe", "cifar100-lt", "--epochs", "2", "--smooth-tail", "0.2"),
            {"smooth_head": 0.4, "smooth_tail": 0.2, "classifier_share": 0.2, "weight_decay": 2e-4},
        ),
    ],
)
def test_a_recipe_and_its_parts_can_be_chosen(rebalance, strategy, options, wanted):
    (stage,) = rebalance("seed0", strategy, *options).record["rebalanced"]
    assert {name: stage["recipe"][name] for name in wanted} == wanted
    assert {name: stage["options"][name] for name in ("epochs", "validation")} == {
        "epochs": 2,
        "validation": 5,
    }


def test_a_source_s_recipe_moves_the_statistics_below_and_no_weight(root, rebalance):
    made = rebalance("seed0", "crt", "--recipe", "imagenet-lt", "--epochs", "2")
    before = models.load(runs.find(root, "seed0").weights).state_dict()
    after = models.load(made.weights).state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert {"head.weight", "head.bias"} < changed
    assert {name.rpartition(".")[2] for name in changed - {"head.weight", "head.bias"}} == {
        *("running_mean", "running_var", "num_batches_tracked"),
    }


@pytest.mark.parametrize("recipe", ["fast", "imagenet-lt"])
@pytest.mark.parametrize(("source", "split"), [("cosine", "test"), ("held-out", "validation")])
def test_epochs_on_the_way_are_evaluated_and_change_nothing(
    root, rebalance, capsys, recipe, source, split
):
    if source == "held-out":
        small = ("--model", "resnet8", "--epochs", "1", "--evaluate-every", "0")
        held_out = ("--validation", "5", "--name", source, "--runs", str(root))
        assert ltkd(["teach", *small, *held_out]) == 0
    crt = ["rebalance", source, "--strategy", "crt", "--runs", str(root), "--recipe", recipe]
    crt += ["--epochs", "5", "--batch-size", "128", "--views", "2"]
    assert ltkd([*crt, "--name", "silent"]) == 0
    capsys.readouterr()
    assert ltkd([*crt, "--evaluate-every", "2", "--name", "seen"]) == 0
    assert f"epoch 4: {split} accuracy" in capsys.readouterr().err
    silent, seen = (runs.find(root, name) for name in ("silent", "seen"))
    assert seen.record["weights_sha256"] == silent.record["weights_sha256"]
    assert silent.read_metrics() == []
    metrics = seen.read_metrics()
    assert [line["epoch"] for line in metrics] == [2, 4]
    assert set(metrics[0][split]) == {"all", "head", "medium", "tail"}


@pytest.mark.parametrize("evaluated", ["0", "1"])
def test_a_classifier_that_does_not_stay_finite_is_refused(root, capsys, evaluated):
    much = ("--learning-rate", "1e38", "--batch-size", "64", "--evaluate-every", evaluated)
    assert ltkd(["rebalance", "seed0", "--strategy", "crt", *much, "--runs", str(root)]) == 1
    assert "did not stay finite" in capsys.readouterr().err


def test_the_accuracy_after_an_epoch_is_that_of_a_re_training_which_ends_there(rebalance):
    """Whatever follows it: the cosine of mislas begins at the full rate."""
    recipe = ("--recipe", "imagenet-lt", "--batch-size", "128")
    longer = rebalance(
        "seed0", "mislas", *recipe, "--epochs", "3", "--evaluate-every", "1", name="longer"
    )
    ended = rebalance("seed0", "mislas", *recipe, "--epochs", "1", name="ended")
    wanted = {name: ended.record["scores"][name]["accuracy"] for name in ("all", "head", "tail")}
    assert wanted.items() <= longer.read_metrics()[0]["test"].items()


def test_eval_takes_the_seeds_of_a_strategy_together(root, rebalance, capsys):
    for seed in ("seed0", "seed1"):
        rebalance(seed, "tau-norm", name=f"{seed}-tau-norm")
    rebalance("seed1", "tau-norm", "--strength", "1", name="given")
    names = ["seed0", "seed1", "seed0-tau-norm", "seed1-tau-norm", "given"]
    capsys.readouterr()
    assert ltkd(["eval", *names, "--runs", str(root), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    found = [(setting["method"], setting["n"]) for setting in told["settings"]]
    small = "validation=5 views=2"
    assert found == [
        ("ce", 2),
        (f"ce + tau-norm {small}", 2),
        (f"ce + tau-norm strength=1 {small}", 1),
    ]


def test_eval_finds_the_scores_that_were_written(rebalanced, capsys):
    capsys.readouterr()
    assert ltkd(["eval", "--runs", str(rebalanced), "--json"]) == 0  # the newest run
    (result,) = json.loads(capsys.readouterr().out)["results"]
    made = runs.find(rebalanced, STRATEGIES[-1])
    assert (result["name"], result["kind"]) == (made.name, "rebalance")
    for group in ("all", "head", "medium", "tail"):
        assert result[group]["accuracy"] == made.record["scores"][group]["accuracy"]


def test_a_rebalanced_network_can_teach(rebalanced, tmp_path):
    cache = tmp_path / "cache.h5"
    asked = ["export-logits", "crt", "--runs", str(rebalanced), "--views", "1", "-o", str(cache)]
    assert ltkd(asked) == 0
    held = Cache.open(cache).attributes
    assert held["teacher_method"] == "ce + crt"
    assert held["teacher_sha256"] == runs.find(rebalanced, "crt").record["weights_sha256"]


def test_strategies_follow_one_another(root, rebalance, capsys):
    first = rebalance("seed0", "crt")
    capsys.readouterr()
    second = rebalance("crt", "logit-adjust")
    assert "Logit adjustment" in capsys.readouterr().err
    assert second.method == "ce + crt + logit-adjust"
    parents = [parent["name"] for parent in second.record["parents"]]
    assert parents == [first.name, "seed0"]


def test_by_default_it_takes_the_newest_run_that_was_not_rebalanced(root, rebalance):
    (root / "cosine" / "run.json").unlink()
    rebalance("seed0", "tau-norm")
    assert ltkd(["rebalance", "--runs", str(root), "--name", "new", *SMALL]) == 0
    made = runs.find(root, "new")
    assert made.method == "ce + logit-adjust"
    assert made.record["parents"][0]["name"] == "seed1"


def test_a_cosine_head_can_be_trained_anew(root, rebalance):
    made = rebalance("cosine", "crt")
    assert models.load(made.weights).spec.head == "cosine:16"


@pytest.mark.parametrize("strategy", ["lws", "mislas", "tau-norm", "logit-adjust"])
def test_a_cosine_head_has_nothing_that_the_others_could_change(root, capsys, strategy):
    assert ltkd(["rebalance", "cosine", "--strategy", strategy, "--runs", str(root)]) == 2
    told = capsys.readouterr().err
    assert "cosine head" in told
    assert "--strategy crt" in told


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--how", "crt"], 2, "--strategy"),
        (["--strategy", "bkd"], 2, "crt, lws, mislas, tau-norm, logit-adjust"),
        (["--strategy", "crt", "--strength", "1"], 2, "tau-norm and logit-adjust, not for crt"),
        (["--strategy", "mislas", "--strength", "1"], 2, "--smooth-head"),
        (["--strategy", "mislas", "--smooth-head", "1"], 2, "--smooth-head"),
        (["--strategy", "crt", "--smooth-tail", "0.1"], 2, "mislas, not for crt"),
        (["--strategy", "tau-norm", "--epochs", "3"], 2, "not for tau-norm"),
        (["--recipe", "fast"], 2, "not for logit-adjust"),
        (["--strategy", "crt", "--recipe", "ldam"], 2, "fast, imagenet-lt, bag-of-tricks"),
        (["--strategy", "lws", "--epochs", "0"], 2, "--epochs"),
        (["--strategy", "lws", "--learning-rate", "nan"], 2, "--learning-rate"),
        (["--strength", "-1"], 2, "between 0 and 100"),
        (["--strength", "nan"], 2, "between 0 and 100"),
        (["--strategy", "crt", "--evaluate-every", "-1"], 2, "--evaluate-every"),
        (["--evaluate-every", "1"], 2, "not for logit-adjust"),
        (["--views", "0"], 2, "--views"),
        (["--validation", "0"], 2, "--validation"),
        (["--name", "seed1"], 1, "never overwritten"),
        (["--device", "tpu"], 2, "tpu"),
    ],
)
def test_what_does_not_fit_is_said_before_any_work(root, capsys, options, code, words):
    before = sorted(root.iterdir())
    assert ltkd(["rebalance", "seed0", "--runs", str(root), *options]) == code
    assert words in capsys.readouterr().err
    assert sorted(root.iterdir()) == before


def test_an_unfinished_run_is_refused(root, capsys):
    runs.find(root, "seed0").update(status="interrupted")
    assert ltkd(["rebalance", "seed0", "--runs", str(root)]) == 1
    assert "--resume" in capsys.readouterr().err


def test_other_training_images_are_refused(root, capsys):
    source = runs.find(root, "seed0")
    source.update(data={**source.record["data"], "train": "0" * 64})
    assert ltkd(["rebalance", "seed0", "--runs", str(root)]) == 3
    assert "training images" in capsys.readouterr().err


def test_a_folder_without_finished_runs_is_refused(tmp_path, capsys):
    assert ltkd(["rebalance", "--runs", str(tmp_path)]) == 1
    assert "ltkd teach" in capsys.readouterr().err
