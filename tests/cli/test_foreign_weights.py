"""A teacher that is no run: its weights come from a file."""

import json
from pathlib import Path

import pytest
import torch
from driving import advised, ctrl_c, datasets, refused, result_of
from foreign_weights import NETWORK, in_zoo, unreachable, write, write_parts

from ltkd_cli import models
from ltkd_cli.cache import Cache, CacheWriter
from ltkd_cli.cache.again import export_again
from ltkd_cli.cli.weights import source
from ltkd_cli.commands import caches, export_weights
from ltkd_cli.commands.export import ExportSettings
from ltkd_cli.commands.export_weights import WeightSource
from ltkd_cli.commands.identity import setting_of
from ltkd_cli.data import DataSpec, load
from ltkd_cli.errors import UsageError
from ltkd_cli.inference import predict
from ltkd_cli.models.weights import Weights, read, whole_network
from ltkd_cli.runs import find
from ltkd_cli.views.policy import Policy

TINY = ("--model", "resnet8", "--epochs", 1, "--evaluate-every", 0)
CPU = torch.device("cpu")
RUN = "0001-teach-ce-resnet8"


@pytest.fixture
def untrained(empty):
    write("w.pt")
    return ("--model", NETWORK, "--weights", "w.pt")


@pytest.fixture
def weights(untrained, monkeypatch):
    """Random weights, which are not refused for being at chance."""
    for module in (caches, export_weights):
        monkeypatch.setattr(module, "refuse_chance", lambda *_: iter(()))
    return untrained


def test_weights_at_chance_are_refused_unless_one_insists(ltkd, untrained):
    said = ltkd("export-logits", *untrained, "--views", 1, "-o", "c.h5")
    assert refused(last(said), 1, "w.pt", "--force")
    assert not Path("c.h5").exists()
    assert ltkd("export-logits", *untrained, "--views", 1, "-o", "c.h5", "--force").code == 0


def test_its_outputs_are_those_of_the_network_and_its_scores_are_known(ltkd, weights):
    said = ltkd("export-logits", *weights, "--views", 1, "--dtype", "float32")
    assert said.code == 0
    assert "test accuracy" in said.err
    assert "state_dict" in said.err
    (made,) = Path().glob("*.h5")
    assert made.name in said.err.splitlines()[-1]
    cache, data = Cache.open(made), load(DataSpec())
    network = whole_network(read(Path("w.pt"), NETWORK), data.mean, data.std)
    torch.testing.assert_close(
        cache.tensor("logits"), predict(network, data.train, CPU, policy=Policy("none"))
    )
    held = cache.attributes
    assert held["teacher_method"] == "unknown"
    assert held["teacher_sha256"] == models.weights_sha256("w.pt")
    assert held["teacher_weights"]["part"] == "state_dict"
    assert held["teacher_scores"]["all"]["images"] == len(data.test.labels)


@pytest.mark.parametrize("method", ["kd", "dive", "bkd", "feature"])
def test_students_learn_from_it_with_a_warning_that_nobody_knows_its_method(ltkd, weights, method):
    assert ltkd("export-logits", *weights, "--views", 1, "-o", "c.h5").code == 0
    said = ltkd("distill", "--method", method, *TINY, "--cache", "c.h5")
    assert said.code == 0
    assert "is not known" in said.err
    assert ltkd("eval").code == 0


def test_caches_of_other_weights_are_teachers_of_another_setting(ltkd, weights):
    write("other.pt", seed=1)
    for name in ("w", "other"):
        own = (*weights[:3], f"{name}.pt", "--views", 1, "-o", f"{name}.h5")
        assert ltkd("export-logits", *own).code == 0
        for seed in (0, 1):
            run = ("--name", f"{name}-{seed}", "--seed", seed)
            assert ltkd("distill", "--method", "kd", *TINY, "--cache", f"{name}.h5", *run).code == 0
    settings = {each: setting_of(find(Path("runs"), each)) for each in ("w-0", "w-1", "other-0")}
    assert settings["w-0"] == settings["w-1"] != settings["other-0"]


def test_the_same_export_again_is_there_already_and_another_is_refused(ltkd, weights):
    first = ltkd("export-logits", *weights, "--views", 1, "-o", "c.h5")
    before = datasets("c.h5")
    again = ltkd("export-logits", *weights, "--views", 1, "-o", "c.h5")
    assert (first.code, again.code) == (0, 0)
    assert "exists already" in again.err
    write("w.pt", seed=1)
    said = ltkd("export-logits", *weights, "--views", 1, "-o", "c.h5")
    assert refused(last(said), 3, "teacher_sha256", "--force")
    assert datasets("c.h5") == before


def test_a_run_s_own_file_needs_no_model(ltkd, story):
    said = ltkd("export-logits", "--weights", f"runs/{RUN}/model.safetensors", "--views", 4)
    assert said.code == 0
    (made,) = Path().glob("*.h5")
    ours, run_s = datasets(made), datasets(f"runs/{RUN}/cache-crop-4.h5")
    assert ours["logits"] == run_s["logits"]


def test_a_classifier_beside_the_backbone_is_used_and_named(ltkd, weights):
    scale = {"module.learned_norm": torch.ones(1, 10)}
    write_parts("parts.pt", state_dict_lws_model=scale)
    for name in ("w", "parts"):
        said = ltkd("export-logits", *weights[:3], f"{name}.pt", "--views", 1, "-o", f"{name}.h5")
        assert said.code == 0
    (note,) = [line for line in said.err.splitlines() if "part " in line]
    assert "part state_dict_best.feat_model, prefix module., head of part" in note
    assert "classifier prefix module.fc., head times state_dict_lws_model" in note
    assert datasets("w.h5") == datasets("parts.h5")


def test_a_head_of_one_s_own_takes_nothing_of_a_classifier_beside_the_backbone(ltkd, empty):
    write_parts("parts.pt", other={"fc.weight": torch.zeros(10, 1024)})
    options = ("--model", NETWORK, "--weights", "parts.pt", "--freeze", "--feature-views", 1)
    said = ltkd("teach", *options, "--epochs", 1)
    assert said.code == 0
    assert "head of" not in said.err


MEAN, STD = (0.466, 0.471, 0.38), (0.195, 0.194, 0.192)


def exported(output, statistics=None):
    """The cache of `w.pt` for images that are normalised in this way."""
    settings = ExportSettings(output=Path(output), views=1)
    teacher = WeightSource(NETWORK, Path("w.pt"), statistics)
    return Cache.open(result_of(export_weights.export_weights(teacher, {}, settings)))


def test_a_cache_holds_the_mean_and_std_that_were_given_and_the_advice_repeats_them(weights):
    usual, other = exported("a.h5"), exported("b.h5", (MEAN, STD))
    assert datasets("a.h5")["logits"] != datasets("b.h5")["logits"]
    held = other.attributes
    assert (held["teacher_model"]["mean"], held["teacher_model"]["std"]) == ([*MEAN], [*STD])
    assert held["teacher_setting"]["model"] != usual.attributes["teacher_setting"]["model"]
    again = [str(export_again(c.path, c.attributes, c.layout)) for c in (usual, other)]
    assert ["--mean" in each for each in again] == [False, True]
    assert "--weights w.pt --mean 0.466,0.471,0.38 --std 0.195,0.194,0.192 --views 1" in again[1]


def test_weights_of_others_are_told_how_their_images_are_normalised(ltkd, weights):
    said = ltkd("export-logits", *weights, "--views", 1, "-o", "c.h5")
    usual = "mean 0.485,0.456,0.406 and std 0.229,0.224,0.225 (those of torchvision's weights"
    assert f"w.pt: normalised with {usual}; --mean" in said.err
    said = ltkd("teach", *weights, "--freeze", "--feature-views", 1, "--epochs", 1)
    assert f"w.pt: normalised with {usual}; --mean" in said.err
    run = ("--weights", "runs/0001-teach-ce-shufflenet_v2_x0_5/model.safetensors", "--views", 1)
    assert "normalised" not in ltkd("export-logits", *run, "-o", "own.h5").err


NORMALISED = ("--mean", "0.466,0.471,0.380", "--std", "0.195,0.194,0.192")


def test_an_unfinished_export_with_a_mean_and_std_goes_on_with_them(ltkd, weights):
    command = ("export-logits", *weights, *NORMALISED, "--views", 1, "--output")
    said = ltkd(*command, "whole.h5")
    assert "normalised with mean 0.466,0.471,0.38 and std 0.195,0.194,0.192 (as given)" in said.err
    whole = Cache.open(Path("whole.h5"))
    first = torch.zeros(1, dtype=torch.int64)
    outputs = whole.read(first, first, whole.layout.names)
    with CacheWriter(Path("c.h5"), whole.layout, whole.attributes) as begun:
        begun.write(0, outputs["logits"].numpy(), outputs["features"].numpy())
    assert ltkd(*advised(ltkd("distill", "--cache", "c.h5"))).code == 0
    assert datasets("c.h5") == datasets("whole.h5")
    assert refused(last(ltkd("export-logits", *weights, "--views", 1, "-o", "c.h5")), 3, "mean")


def test_mean_and_std_may_stand_in_a_file(ltkd, weights):
    _, mean, _, std = NORMALISED
    Path("given.toml").write_text(f'mean = "{mean}"\nstd = "{std}"\n')
    assert ltkd("export-logits", *weights, "--views", 1, "--config", "given.toml").code == 0
    (made,) = Path().glob("*.h5")
    assert Cache.open(made).attributes["teacher_model"]["mean"] == [*MEAN]


def test_a_training_keeps_its_mean_and_std(ltkd, weights):
    frozen = ("teach", *weights, "--freeze", "--feature-views", 1, "--epochs", 3, "--log-every", 1)
    assert ltkd(*frozen, "--name", "usual").code == 0
    given = ("--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225")
    assert ltkd(*frozen, *given, "--name", "said").code == 0
    said = ltkd(*frozen, *NORMALISED, "--name", "other")
    assert "normalised with mean 0.466,0.471,0.38 and std 0.195,0.194,0.192 (as given)" in said.err
    assert ltkd("teach", "--config", "runs/other/config.toml", "--name", "again").code == 0
    whole = ("teach", *weights, *NORMALISED, "--epochs", 3, "--log-every", 1, "--name", "parted")
    assert ltkd(*whole, stderr=ctrl_c("epoch 1: ")).code == 130
    assert ltkd("teach", "--resume", "parted").code == 0
    runs = {name: find(Path("runs"), name) for name in ("usual", "said", "other", "again")}
    for name in ("other", "again", "parted"):
        network = models.load(f"runs/{name}/model.safetensors")
        assert (network.spec.mean, network.spec.std) == (MEAN, STD)
    assert runs["usual"].record["weights_sha256"] == runs["said"].record["weights_sha256"]
    assert runs["other"].record["weights_sha256"] == runs["again"].record["weights_sha256"]
    settings = {name: setting_of(run) for name, run in runs.items()}
    assert settings["usual"] == settings["said"] != settings["other"] == settings["again"]


BAD_OF_TEACH = [
    (("--mean", "0,0,0"), "without --std", "--mean 0,0,0 --std 0.229,0.224,0.225"),
    (("--mean", "0,0", "--std", "1,1,1"), "'0,0'", "--mean 0.485"),
    (("--mean", "0,0,0", "--std", "1,1,1"), "belong to --weights", "--weights FILE --mean"),
    (("--mean", "0,0,0", "--std", "1,1,1", "--pretrained"), "belong to --weights", "--weights"),
]


@pytest.mark.parametrize(("options", "name", "hint"), BAD_OF_TEACH)
def test_a_training_refuses(ltkd, empty, options, name, hint):
    assert refused(ltkd("teach", "--model", NETWORK, *options), 2, name, hint)


BAD_STATISTICS = [
    (("0.5,0.5,0.5", None), "without --std", "--mean 0.5,0.5,0.5 --std 0.229,0.224,0.225"),
    ((None, "0.5,0.5,0.5"), "without --mean", "--mean 0.485,0.456,0.406 --std 0.5,0.5,0.5"),
    (("0.5,0.5", "0.5,0.5,0.5"), "'0.5,0.5'", "--mean 0.485"),
    (("0.5,0.5,0.5,0.5", "0.5,0.5,0.5"), "three numbers", "--mean 0.485"),
    (("124,116,104", "58,57,57"), "from 0 to 1", "--mean 0.485"),
    (("0,0,nan", "1,1,1"), "0,0,nan", "--mean 0.485"),
    (("0,0,-0.1", "1,1,1"), "0,0,-0.1", "--mean 0.485"),
    (("", "1,1,1"), "''", "--mean 0.485"),
    (("0,0,0", "1,1,0"), "above 0", "--std 0.229"),
    (("0,0,0", "inf,1,1"), "inf,1,1", "--std 0.229"),
]


@pytest.mark.parametrize(("statistics", "name", "hint"), BAD_STATISTICS)
def test_mean_and_std_are_both_three_numbers(statistics, name, hint):
    with pytest.raises(UsageError) as caught:
        source(NETWORK, Path("w.pt"), False, *statistics)
    assert name in caught.value.problem
    assert hint in str(caught.value.hint)


def test_mean_and_std_belong_to_weights():
    with pytest.raises(UsageError, match="belong to --weights") as caught:
        source(None, None, False, "0,0,0", "1,1,1")
    assert "--weights FILE --mean 0,0,0 --std 1,1,1" in str(caught.value.hint)
    zoo = source(NETWORK, None, True, "0,0.5,1", "1,1,1e-3")
    assert zoo.statistics == ((0, 0.5, 1), (1, 1, 0.001))


def test_the_zoo_s_own_head_is_for_other_classes(ltkd, empty, tmp_path, monkeypatch):
    in_zoo(tmp_path / "zoo", monkeypatch)
    said = ltkd("export-logits", "--model", NETWORK, "--pretrained", "--views", 1)
    hint = f"ltkd teach --model {NETWORK} --pretrained --freeze"
    assert refused(last(said), 3, "1,000 classes", hint)


def test_without_a_network_the_error_says_so(ltkd, empty, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    said = ltkd("export-logits", "--model", NETWORK, "--pretrained")
    assert refused(last(said), 4, "no route", "--weights FILE")


def test_an_unfinished_export_is_named_with_its_command_and_goes_on(ltkd, weights):
    command = ("export-logits", *weights, "--views", 4, "--output")
    assert ltkd(*command, "whole.h5").code == 0
    whole = Cache.open(Path("whole.h5"))
    first = torch.zeros(1, dtype=torch.int64)
    outputs = whole.read(first, first, whole.layout.names)
    with CacheWriter(Path("c.h5"), whole.layout, whole.attributes) as begun:
        begun.write(0, outputs["logits"].numpy(), outputs["features"].numpy())
    said = ltkd("distill", "--cache", "c.h5")
    assert refused(said, 1, "unfinished", f"--model {NETWORK} --weights w.pt --views 4")
    assert ltkd(*command, "c.h5").code == 0
    assert datasets("c.h5") == datasets("whole.h5")


def test_a_student_s_ancestors_are_the_cache_and_the_file_of_weights(ltkd, weights):
    assert ltkd("export-logits", *weights, "--views", 1, "-o", "c.h5").code == 0
    assert ltkd("distill", *TINY, "--cache", "c.h5").code == 0
    (cache,) = json.loads(ltkd("runs", "show", "--json").out)["ancestors"]
    assert [(each["kind"], each["name"]) for each in cache["ancestors"]] == [("weights", "w.pt")]
    assert "weights w.pt" in ltkd("runs", "show").out


def test_the_advice_on_a_damaged_cache_of_the_zoo_s_weights_names_the_zoo(
    ltkd, weights, tmp_path, monkeypatch
):
    assert ltkd("export-logits", *weights, "--views", 1, "-o", "c.h5").code == 0
    whole = Cache.open(Path("c.h5"))
    fetched = {**whole.attributes["teacher_weights"], "source": NETWORK}
    hint = export_again(whole.path, {**whole.attributes, "teacher_weights": fetched}, whole.layout)
    assert f"--model {NETWORK} --pretrained" in str(hint)
    of_zoo = Weights(NETWORK, NETWORK, "0" * 64, read(Path("w.pt"), NETWORK).matched, None, True)
    assert of_zoo.record()["source"] == NETWORK


def test_cache_info_names_the_file(ltkd, weights):
    assert ltkd("export-logits", *weights, "--views", 1, "-o", "c.h5").code == 0
    said = ltkd("cache", "info", "c.h5")
    assert "w.pt" in said.out
    assert "prefix module." in said.out
    assert "normalised with mean 0.485,0.456,0.406 and std 0.229,0.224,0.225" in said.out
    assert json.loads(ltkd("cache", "info", "c.h5", "--json").out)["teacher_weights"]


def test_a_head_without_a_bias_which_may_be_a_cosine_head_is_told(ltkd, weights):
    command = ("export-logits", *weights, "--views", 1, "-o")
    assert "taken for a linear one" not in ltkd(*command, "with.h5").err
    tensors = torch.load("w.pt", weights_only=True)["state_dict"]
    torch.save({n: tensor for n, tensor in tensors.items() if "fc.bias" not in n}, "w.pt")
    said = ltkd(*command, "without.h5")
    assert said.code == 0
    assert "w.pt: prefix module., a head without a bias, taken for a linear one" in said.err


def last(said):
    """The same answer without what was told before its error."""
    return type(said)(said.code, said.out, said.err[said.err.index("error: ") :])


BAD = [
    (("--model", NETWORK), 2, NETWORK, "--weights FILE"),
    (("--pretrained",), 2, "--pretrained", "--model"),
    (("--weights", "w.pt"), 2, "w.pt", "--model"),
    (("--model", NETWORK, "--weights", "w.pt", "--pretrained"), 2, "exclude", ""),
    (("--model", NETWORK, "--weights", "none.pt"), 4, "none.pt", "--weights FILE"),
    (("--model", NETWORK, "--weights", "."), 4, "cannot be read", "--weights FILE"),
    (("--model", NETWORK, "--weights", "text.pt"), 4, "text.pt", "torch.save"),
    (("--model", NETWORK, "--weights", "1000.pt"), 3, "1,000 classes", "--freeze"),
    (("--model", NETWORK, "--weights", "1000.pt", *NORMALISED), 3, "1,000", "1000.pt --mean 0.4"),
    (("--model", NETWORK, "--weights", "headless.pt"), 4, "no linear head", "--freeze"),
    (("--model", NETWORK, "--weights", "several.pt"), 4, "several linear heads", "--freeze"),
    (("--model", "torchvision/resnet18", "--weights", "w.pt"), 4, "of the network", "--model"),
    (("--model", "torchvision/nonsense", "--weights", "w.pt"), 2, "nonsense", "torchvision/NAME"),
    (("--model", "nonsense", "--weights", "w.pt"), 2, "nonsense", "resnet8"),
    (("--model", "resnet8", "--weights", "w.pt"), 4, "w.pt", "--model"),
    (("--model", "resnet8", "--pretrained"), 2, "resnet8", ""),
    (("1", "--model", NETWORK, "--weights", "w.pt"), 2, "RUN", "--help"),
    (("1", "--mean", "0,0,0", "--std", "1,1,1"), 2, "belong to --weights", "--weights FILE"),
    (("--model", NETWORK, "--weights", "w.pt", "--mean", "0,0,0"), 2, "without --std", "--std"),
    (("--model", NETWORK, "--weights", "w.pt", "--views", "0"), 2, "--views", "--views 16"),
    (("--model", NETWORK, "--weights", "w.pt", "--dtype", "x"), 2, "'x'", "--dtype float16"),
    (("--model", NETWORK, "--weights", "w.pt", "--output", "."), 2, "folder", "--output cache.h5"),
    (("--model", NETWORK, "--weights", "w.pt", "--data", "none"), 1, "'none'", "--data"),
    (("--model", NETWORK, "--weights", "w.pt", "--policy", "x"), 2, "'x'", "--policy"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "code", "name", "hint"), BAD, ids=[" ".join(b[0]) for b in BAD]
)
def test_export_refuses(ltkd, weights, options, code, name, hint):
    write("1000.pt", classes=1000)
    write_parts("several.pt", balanced={"fc.weight": torch.zeros(10, 1024)})
    Path("text.pt").write_text("no weights")
    held = torch.load("w.pt", weights_only=True)["state_dict"]
    torch.save({k: v for k, v in held.items() if "fc." not in k}, "headless.pt")
    assert refused(last(ltkd("export-logits", *options)), code, name, hint)
    assert not list(Path().glob("*.h5*"))
