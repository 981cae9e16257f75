"""`--config`: names of options, what is typed wins, and a run is repeated from its folder."""

import json
import tomllib
from pathlib import Path

import pytest
from driving import refused
from foreign_files import image_folder
from typer.main import get_command

from ltkd_cli import models, toml
from ltkd_cli.cli.app import app

SHORT = ("--model", "resnet8", "--epochs", 1, "--evaluate-every", 0, "--precision", "float32")


def commands(group, path=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def record_of(folder):
    return json.loads((Path("runs") / folder / "run.json").read_text())


def weights_of(folder):
    return (Path("runs") / folder / "model.safetensors").read_bytes()


def config(text, name="mine.toml"):
    Path(name).write_text(text)
    return name


@pytest.mark.parametrize(("path", "command"), list(commands(get_command(app))))
def test_every_command_takes_a_file(path, command):
    assert "--config" in [name for parameter in command.params for name in parameter.opts]


@pytest.mark.parametrize(("path", "command"), list(commands(get_command(app))))
def test_every_command_refuses_a_key_that_is_no_option(ltkd, empty, path, command):
    said = ltkd(*path, "--config", config("nonsense = 1\n"))
    assert refused(said, 2, "nonsense", f"ltkd {' '.join(path)} --help")


def test_what_is_typed_wins_over_the_file(ltkd, empty):
    mine = config('model = "resnet8"\nepochs = 1\nseed = 3\nprecision = "float32"\n')
    assert ltkd("teach", "--config", mine, "--seed", 4, "--name", "a").code == 0
    settings = record_of("a")["settings"]
    assert (settings["model"], settings["seed"]) == ("resnet8", 4)
    assert settings["recipe"]["epochs"] == 1


def test_numbers_texts_and_lists_mean_what_one_would_type(ltkd, empty):
    mine = config(
        'model = "resnet8"\nepochs = 1\nschedule = "step"\nmilestones = [0.5, 0.75]\n'
        "nesterov = true\n[set]\nlabel-smoothing = 0.1\n"
    )
    assert ltkd("teach", "--config", mine, "--name", "a").code == 0
    settings = record_of("a")["settings"]
    assert settings["recipe"]["milestones"] == [0.5, 0.75]
    assert settings["recipe"]["nesterov"] is True
    assert settings["options"]["label_smoothing"] == 0.1


def test_an_argument_may_be_in_the_file(ltkd, story):
    said = ltkd("eval", "--config", config('run = ["1", "2"]\njson = true\n'))
    names = [one["name"] for one in json.loads(said.out)["results"]]
    assert names == ["0001-teach-ce-resnet8", "0002-distill-bkd-resnet8"]


def test_a_typed_option_of_the_method_replaces_that_one_of_the_table(ltkd, story):
    mine = config('method = "kd"\n[set]\ntemperature = 3.0\nlabel_weight = 0.5\n')
    more = ("--set", "label-weight=0.25", "--name", "a", *SHORT)
    assert ltkd("distill", "--config", mine, *more).code == 0
    options = record_of("a")["settings"]["options"]
    assert (options["temperature"], options["label_weight"]) == (3.0, 0.25)


def test_what_belongs_to_a_replaced_method_recipe_or_data_set_is_left_out(ltkd, story):
    mine = config('method = "bkd"\nrecipe = "ldam"\nbatch-size = 7\n[set]\nfrom_progress = 0.5\n')
    typed = ("--method", "kd", "--recipe", "quick")
    said = ltkd("distill", "--config", mine, *typed, "--name", "a", *SHORT)
    assert said.code == 0
    settings = record_of("a")["settings"]
    assert settings["recipe"]["batch_size"] == 32
    assert "batch-size, set" in said.err


@pytest.mark.parametrize("typed", [("pets",), ("--data", "pets")], ids=["SPEC", "--data"])
def test_another_image_set_does_not_get_the_imbalance_of_the_one_in_the_file(ltkd, empty, typed):
    image_folder(empty / "pets")
    mine = config('data = "digits-lt"\nimbalance = 5\n')
    said = ltkd("data", "--config", mine, *typed, "--json")
    assert [each["train"] for each in json.loads(said.out)["classes"]] == [6, 6]
    assert any("mine.toml" in line and "imbalance" in line for line in said.err.splitlines())


@pytest.mark.parametrize(
    ("text", "typed", "left_out"),
    [
        ('"tau-norm"\nstrength = 0.5', ("crt", "--epochs", 2), "strength"),
        ('"crt"\nepochs = 1\nevaluate-every = 1', ("tau-norm",), "epochs, evaluate-every"),
    ],
    ids=["re-training", "adjustment"],
)
def test_another_strategy_does_not_get_what_belongs_to_the_one_in_the_file(
    ltkd, story, text, typed, left_out
):
    mine = config(f"strategy = {text}\n")
    said = ltkd("rebalance", 1, "--config", mine, "--strategy", *typed, "--views", 2)
    assert said.code == 0, said.err
    assert f"without {left_out}, " in said.err


def test_what_refines_an_option_that_the_file_does_not_name_stays(ltkd, empty):
    mine = config("batch-size = 48\n")
    assert ltkd("teach", "--config", mine, "--recipe", "quick", "--name", "a", *SHORT).code == 0
    assert record_of("a")["settings"]["recipe"]["batch_size"] == 48


def test_a_typed_seed_replaces_the_seeds_of_the_file(ltkd, story):
    mine = config("seeds = [1, 2]\njobs = 1\n")
    assert ltkd("distill", "--config", mine, "--seed", 5, "--name", "a", *SHORT).code == 0
    assert record_of("a")["settings"]["seed"] == 5
    assert refused(ltkd("distill", "--config", config("seeds = [1, 2]\nseed = 1\n")), 2, "--seeds")


BAD = [
    ("teach", "learning_rate = 0.1", "learning-rate", "learning-rate"),
    ("teach", "epoch = 3", "'epoch'", "epochs"),
    ("teach", "EPOCHS = 3", "'EPOCHS'", "epochs"),
    ("teach", 'cache = ["a.h5"]', "'cache'", ""),
    ("teach", "epochs = 1.5", "epochs", ""),
    ("teach", 'epochs = "many"', "'many'", ""),
    ("teach", "epochs = true", "true", ""),
    ("teach", "epochs = [1]", "epochs", ""),
    ("teach", "epochs = 0", "--epochs", "ltkd teach --help"),
    ("teach", "learning-rate = nan", "--learning-rate", ""),
    ("teach", "model = 5", "'5'", "resnet8"),
    ("teach", 'model = ["resnet8"]', "a list", ""),
    ("teach", "model = true", "true", ""),
    ("teach", 'model = "resnet8\\u0000"', "model", ""),
    ("teach", "seed = -1", "-1", "--seed 0"),
    ("teach", 'pretrained = "yes"', "'yes'", ""),
    ("teach", "nesterov = 1", "true or false", ""),
    ("teach", "[method]\nname = 1", "a table", ""),
    ("teach", "set = 1979-05-27", "1979", ""),
    ("teach", "[set]\nlabel_smoothing = [1]", "a list", ""),
    ("teach", "[set]\nnonsense = 1", "'nonsense'", "ltkd methods ce"),
    ("teach", '[set]\nlabel_smoothing = "much"', "'much'", "--set"),
    ("teach", 'milestones = "nonsense"', "'nonsense'", "--milestones"),
    ("teach", 'resume = "last"', "resume", "ltkd teach --resume"),
    ("teach", 'config = "other.toml"', "config", "ltkd teach --config"),
    ("teach", 'test-list = "a"\ntest-manifest = "a"', "test-manifest", "leave out"),
    ("rebalance", 'how = "crt"', "'how'", ""),
    ("rebalance", "views = 0", "--views", "--views 8"),
    ("export-logits", "no-features = 0", "true or false", ""),
    ("eval", 'fail-under = "tail"', "'tail'", "--fail-under"),
    ("views", "images = 1.5", "images", ""),
    ("doctor", "imbalance = 0.5", "0.5", "--imbalance 100"),
]


@pytest.mark.parametrize(
    ("command", "text", "name", "hint"), BAD, ids=[f"{b[0]}: {b[1]}" for b in BAD]
)
def test_a_file_is_refused_as_the_options_would_be(ltkd, story, command, text, name, hint):
    said = ltkd(command, "--config", config(text + "\n"))
    assert refused(said, 2, name, hint)
    assert len(list((story / "runs").iterdir())) == 3


def test_a_file_that_is_not_there_or_is_a_folder(ltkd, story):
    assert refused(ltkd("teach", "--config", "none.toml"), 2, "none.toml", "ls -l none.toml")
    folder = "runs/0001-teach-ce-resnet8"
    assert refused(ltkd("teach", "--config", folder), 2, folder, f"--config {folder}/config.toml")


def test_a_resumed_run_takes_no_file(ltkd, story):
    said = ltkd("teach", "--resume", 1, "--config", config("epochs = 9\n"))
    assert refused(said, 2, "--config", "ltkd teach --resume 1")


def test_help_is_shown_whatever_the_file_is(ltkd, empty):
    said = ltkd("teach", "--config", "none.toml", "--help")
    assert said.code == 0
    assert "FILE.toml" in said.out


def repeats(ltkd, command, folder, name):
    """Makes a run again from its folder; whether its weights and settings are the same."""
    said = ltkd(command, "--config", f"runs/{folder}/config.toml", "--name", name)
    assert said.code == 0, said.err
    kept, again = (record_of(each)["settings"] for each in (folder, name))
    own = {**kept, "caches": again.get("caches")}  # paths are absolute there
    return own == again and weights_of(folder) == weights_of(name)


def test_a_teacher_is_repeated_bit_for_bit_from_its_folder(ltkd, empty):
    options = (
        *("--set", "label_smoothing=0.1", "--validation", 2, "--policy", "flip+cutout:4"),
        *("--augment", "jitter", "--classes", "head", "--schedule", "step", "--nesterov"),
        *("--milestones", "0.3,0.6"),
        *("--clip-norm", 2, "--image-size", 10, "--groups", "rank", "--head", "cosine:20"),
    )
    assert ltkd("teach", *SHORT, "--seed", 7, *options, "--name", "a").code == 0
    assert repeats(ltkd, "teach", "a", "b")
    assert toml.read(Path("runs/a/config.toml")) == toml.read(Path("runs/b/config.toml"))


def test_a_schedule_without_milestones_is_repeated(ltkd, empty):
    options = ("--model", "resnet8", "--epochs", 1, "--recipe", "ldam", "--milestones", "")
    assert ltkd("teach", *options, "--name", "a").code == 0
    config = "runs/a/config.toml"
    assert ltkd("teach", "--config", config, "--name", "b").code == 0
    assert record_of("b")["settings"]["recipe"] == record_of("a")["settings"]["recipe"]
    assert record_of("b")["settings"]["recipe"]["milestones"] == []


def test_a_student_is_repeated_bit_for_bit_with_its_cache(ltkd, story):
    assert repeats(ltkd, "distill", "0003-distill-bkd-resnet8", "again")


def test_a_student_without_a_teacher_keeps_the_views_of_its_cache(ltkd, story):
    assert ltkd("export-logits", "--policy", "none", "-o", "clean.h5").code == 0
    assert ltkd("distill", "--method", "ce", "--cache", "clean.h5", *SHORT, "--name", "a").code == 0
    assert record_of("a")["settings"]["views"] == "none"
    assert repeats(ltkd, "distill", "a", "b")


def test_each_of_several_students_has_its_own_seed(ltkd, story):
    assert ltkd("distill", *SHORT, "--seeds", "4,5", "--jobs", 1, "--name", "a").code == 0
    values = tomllib.loads(Path("runs/a-5/config.toml").read_text())
    assert (values["seed"], "seeds" in values) == (5, False)
    assert repeats(ltkd, "distill", "a-5", "again")


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--strategy", "crt", "--epochs", 2, "--views", 2),
        ("--strategy", "tau-norm", "--strength", 0.5),
    ],
    ids=["logit-adjust", "crt", "tau-norm"],
)
def test_a_rebalanced_run_is_repeated_bit_for_bit(ltkd, story, options):
    assert ltkd("rebalance", 1, *options, "--name", "a").code == 0
    assert repeats(ltkd, "rebalance", "a", "b")
    assert record_of("a")["rebalanced"] == record_of("b")["rebalanced"]


def test_a_folder_of_images_is_found_again_from_another_place(ltkd, empty, monkeypatch, tmp_path):
    from PIL import Image

    for split in ("train", "test"):
        for number in range(8):
            path = tmp_path / "images" / split / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (number * 30, 0, 90)).save(path)
    assert ltkd("teach", "--data", "images", *SHORT, "--name", "a").code == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    said = ltkd("teach", "--config", "../runs/a/config.toml", "--name", "b")
    assert said.code == 0, said.err
    assert models.weights_sha256(Path("runs/b/model.safetensors")) == models.weights_sha256(
        Path("../runs/a/model.safetensors")
    )
