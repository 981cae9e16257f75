"""A frozen backbone with a head of one's own, and fine-tuning from a file."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from driving import Listener, ctrl_c, disk_of, refused
from foreign_weights import NETWORK, SMALL, in_zoo, write, write_small
from run_examples import edit
from safetensors.torch import load_file

from ltkd_cli import models
from ltkd_cli.cache import Cache
from ltkd_cli.commands.prepare import reopen
from ltkd_cli.commands.settings import Settings
from ltkd_cli.inference import forward_views
from ltkd_cli.runs import find
from ltkd_cli.training.features import FeatureLoader, each
from ltkd_cli.training.loader import open_loader
from ltkd_cli.training.loop import begin, train

CPU = torch.device("cpu")
FROZEN = ("--model", SMALL, "--weights", "w.pt", "--freeze", "--precision", "float32")
SHORT = ("--epochs", 3, "--name", "head")
ONE_VIEW = ("--feature-views", 1)
RUN = Path("runs/head")


@pytest.fixture
def weights(empty):
    write_small("w.pt")
    return empty


def of_run(name="head"):
    """The prepared training of a run, with its network at the start."""
    return reopen(Settings.of(find(Path("runs"), name)))


def views_of(prepared, rows, views):
    """What the network computes of views 0 ... `views` - 1 of rows."""
    counts = torch.full_like(rows, views)
    blocks, policy = [(rows, counts)], prepared.policy
    (found,) = forward_views(prepared.network, prepared.data.train, blocks, policy, CPU, "float32")
    return found


@pytest.mark.parametrize("options", [(), ("--head", "cosine:20", "--method", "balanced-softmax")])
def test_a_frozen_backbone_is_the_file_s_and_its_head_is_trained(ltkd, weights, options):
    assert ltkd("teach", *FROZEN, *SHORT, "--feature-views", 2, *options).code == 0
    prepared, network = of_run(), models.load(RUN / "model.safetensors")
    begun, made = prepared.network.state_dict(), network.state_dict()
    for name, value in made.items():
        same = torch.equal(value, begun[name])
        assert same == name.startswith("backbone."), name


def test_images_are_normalised_as_the_weights_of_a_zoo_expect_it(ltkd, weights):
    write("zoo.pt", classes=1000)
    options = ("--model", NETWORK, "--weights", "zoo.pt", "--freeze", *ONE_VIEW)
    assert ltkd("teach", *options, *SHORT).code == 0
    assert models.load(RUN / "model.safetensors").spec.mean == (0.485, 0.456, 0.406)


def test_a_backbone_may_be_the_zoo_s(ltkd, empty, tmp_path, monkeypatch):
    in_zoo(tmp_path / "zoo", monkeypatch)
    options = ("--model", NETWORK, "--pretrained", "--freeze", *ONE_VIEW)
    assert ltkd("teach", *options, *SHORT).code == 0
    assert models.load(RUN / "model.safetensors").spec.pretrained


def test_stored_features_are_those_of_a_forward_pass(ltkd, weights):
    assert ltkd("teach", *FROZEN, *SHORT, "--feature-views", 3).code == 0
    cache, rows = Cache.open(RUN / "features.hdf5"), torch.tensor([0, 7, 200, 452])
    cache.verify()
    wanted = views_of(of_run(), rows, 3)["features"].reshape(4, 3, -1)
    for view in range(3):
        views = torch.full_like(rows, view)
        stored = cache.read(rows, views, frozenset({"features"}))["features"]
        torch.testing.assert_close(stored, wanted[:, view], rtol=1e-5, atol=1e-6)


def trained(prepared, loader, forward=None):
    training = begin(prepared.network, prepared.method, prepared.settings.recipe, CPU)
    training.forward = forward or training.network
    for _ in train(training, loader, prepared.settings.recipe, prepared.settings.seed, "float32"):
        pass
    return training.network.state_dict()


def test_the_head_is_the_one_that_images_in_every_step_would_train(ltkd, weights):
    """The policy has one view, so that an ordinary loader reads the same images."""
    assert ltkd("teach", *FROZEN, *SHORT, "--policy", "none").code == 0
    prepared = of_run()
    loader = open_loader(prepared.data.train, prepared.policy, (), frozenset(), CPU)
    on_the_fly, made = trained(prepared, loader), load_file(RUN / "model.safetensors")
    for name in made:
        torch.testing.assert_close(on_the_fly[name], made[name], rtol=1e-4, atol=1e-5)
    fresh = of_run().network.state_dict()
    assert not torch.equal(made["head.weight"], fresh["head.weight"])


def test_the_head_is_the_one_that_features_on_the_fly_would_train(ltkd, weights):
    options = ("--feature-views", 4, "--method", "logit-adjust")
    assert ltkd("teach", *FROZEN, *SHORT, *options).code == 0
    prepared = of_run()

    def of(rows, views):
        every = views_of(prepared, rows, 4)["features"].reshape(len(rows), 4, -1)
        return every[torch.arange(len(rows)), views]

    loader = FeatureLoader(each(prepared.data.train.labels, 4, of), CPU)
    on_the_fly = trained(prepared, loader, prepared.network.classify)
    made = load_file(RUN / "model.safetensors")
    for name in ("head.weight", "head.bias"):
        torch.testing.assert_close(on_the_fly[name], made[name], rtol=1e-4, atol=1e-5)


def test_it_exports_evaluates_and_rebalances_like_any_other_run(ltkd, weights):
    assert ltkd("teach", *FROZEN, *SHORT, "--feature-views", 2).code == 0
    assert ltkd("export-logits", "--views", 2).code == 0
    cache = RUN / "cache-crop-2.h5"
    assert ltkd("distill", "--model", "resnet8", "--epochs", 1, "--method", "kd").code == 0
    (parent,) = find(Path("runs"), "0001-distill-kd-resnet8").record["parents"]
    assert parent["path"] == str(cache)
    assert ltkd("eval", "head").code == 0
    crt = ("rebalance", "head", "--strategy", "crt", "--views", 2, "--epochs", 3)
    assert ltkd(*crt, "--name", "stored").code == 0
    (RUN / "features.hdf5").unlink()
    assert ltkd(*crt, "--name", "again").code == 0
    one, other = (load_file(f"runs/{name}/model.safetensors") for name in ("stored", "again"))
    torch.testing.assert_close(one["head.weight"], other["head.weight"], rtol=1e-3, atol=1e-4)


def test_features_are_no_cache_for_students(ltkd, weights):
    assert ltkd("teach", *FROZEN, *SHORT, "--feature-views", 1).code == 0
    assert refused(ltkd("distill"), 1, "no cache", "export-logits")
    said = ltkd("distill", "--cache", RUN / "features.hdf5")
    assert refused(said, 3, "features.hdf5", "export-logits")


@pytest.mark.parametrize("text", ["features of", "recipe quick"])
def test_interrupted_anywhere_it_goes_on_to_the_same_weights(ltkd, weights, text):
    views = ("--feature-views", 4)
    assert ltkd("teach", *FROZEN, *views, "--epochs", 3, "--name", "whole").code == 0
    Path("runs/whole/features.hdf5").unlink()  # or they are taken over
    stopped = ltkd("teach", *FROZEN, *views, *SHORT, stderr=ctrl_c(text))
    assert stopped.code == 130
    assert ltkd("teach", "--resume", "head").code == 0
    one, other = (load_file(f"runs/{name}/model.safetensors") for name in ("whole", "head"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_full_disk_while_the_backbone_computes_advises_to_resume(ltkd, weights):
    with disk_of(20_000):
        said = ltkd("teach", *FROZEN, *SHORT)
    assert refused(said, 1, "features.hdf5", "ltkd teach --resume")
    assert ltkd("teach", "--resume", "head").code == 0


def test_a_resumed_run_refuses_a_file_that_has_changed(ltkd, weights):
    stopped = ltkd("teach", *FROZEN, *SHORT, *ONE_VIEW, stderr=ctrl_c("recipe quick"))
    assert stopped.code == 130
    write_small("w.pt", seed=5)
    assert refused(ltkd("teach", "--resume", "head"), 4, "w.pt", "ltkd teach")
    Path("w.pt").unlink()
    assert refused(ltkd("teach", "--resume", "head"), 4, "w.pt", "--weights")


def test_features_of_another_run_are_refused(ltkd, weights):
    other = ("--epochs", 1, "--name", "other", "--policy", "flip")
    assert ltkd("teach", *FROZEN, *ONE_VIEW, *other).code == 0
    stopped = ltkd("teach", *FROZEN, *SHORT, *ONE_VIEW, stderr=ctrl_c("recipe quick"))
    assert stopped.code == 130
    shutil.copy("runs/other/features.hdf5", RUN)
    assert refused(ltkd("teach", "--resume", "head"), 3, "features.hdf5", f"rm -- {RUN}")


def test_features_that_are_written_to_in_the_last_epoch_leave_no_weights(ltkd, weights):
    def meddle():
        with (RUN / "features.hdf5").open("r+b") as file:
            file.seek(5000)
            file.write(b"?")

    said = ltkd(
        "teach", *FROZEN, *SHORT, *ONE_VIEW, "--log-every", 1,
        stderr=Listener(meddle, "epoch 3: "),
    )  # fmt: skip
    assert refused(said, 4, "features.hdf5 was changed")
    assert not (RUN / "model.safetensors").exists()


def test_an_expert_s_head_learns_its_group_only(ltkd, weights):
    said = ltkd("teach", *FROZEN, *SHORT, "--feature-views", 1, "--classes", "tail")
    assert said.code == 0
    record = json.loads((RUN / "run.json").read_text())
    assert record["scores"]["head"]["accuracy"] == 0
    assert record["train_images"] == sum(record["data"]["class_counts"][7:])


def test_whole_networks_start_from_a_file_and_all_of_them_moves(ltkd, weights):
    tuned = ("--model", SMALL, "--weights", "w.pt", "--precision", "float32", "--epochs", 1)
    options = ("--recipe", "fine-tune", "--batch-size", 64, "--evaluate-every", 0)
    assert ltkd("teach", *tuned, *options, "--name", "head").code == 0
    begun, made = of_run().network.state_dict(), load_file(RUN / "model.safetensors")
    moved = [name for name in made if not torch.equal(made[name], begun[name])]
    assert {name.partition(".")[0] for name in moved} == {"backbone", "head"}
    far = (made["head.weight"] - begun["head.weight"]).abs().mean()
    near = (made["backbone.conv.weight"] - begun["backbone.conv.weight"]).abs().mean()
    assert 0 < near < far


def test_frozen_stages_stay_and_the_rest_moves(ltkd, weights):
    tuned = ("--model", SMALL, "--weights", "w.pt", "--precision", "float32", "--epochs", 1)
    said = ltkd("teach", *tuned, "--freeze", "stages:2", "--evaluate-every", 0, "--name", "head")
    assert said.code == 0
    begun, made = of_run().network.state_dict(), load_file(RUN / "model.safetensors")
    for stage, stays in (("conv", True), ("norm", True), ("stages.1", True), ("stages.2", False)):
        of_stage = [name for name in made if name.startswith(f"backbone.{stage}.")]
        kept = [torch.equal(made[name], begun[name]) for name in of_stage]
        assert all(kept) == stays
    assert not (RUN / "features.hdf5").exists()


def test_a_run_s_own_weights_may_be_the_backbone(ltkd, story):
    file = "runs/0001-teach-ce-resnet8/model.safetensors"
    said = ltkd("teach", "--model", "resnet8", "--weights", file, "--freeze", "--name", "head")
    assert said.code == 0
    made, begun = load_file(RUN / "model.safetensors"), load_file(file)
    assert all(torch.equal(made[k], begun[k]) for k in made if k.startswith("backbone."))


BAD = [
    (("--freeze",), 2, "--freeze", "--weights FILE --freeze"),
    (("--weights", "w.pt", "--freeze", "nonsense"), 2, "'nonsense'", "stages:2"),
    (("--weights", "w.pt", "--freeze", "stages:x"), 2, "'stages:x'", "stages:2"),
    (("--weights", "w.pt", "--freeze", "stages:-1"), 2, "'stages:-1'", "stages:2"),
    (("--weights", "w.pt", "--freeze", "stages:9"), 2, "3 stages", "--freeze stages:2"),
    (("--weights", "w.pt", "--freeze", "stages:0"), 2, "stages:0", "--freeze stages:2"),
    (("--weights", "w.pt", "--pretrained"), 2, "exclude", "--weights FILE"),
    (("--weights", "w.pt", "--freeze", "--compile"), 2, "--compile", "--compile"),
    (("--weights", "w.pt", "--freeze", "--augment", "jitter"), 2, "--augment", "--policy"),
    (("--weights", "w.pt", "--freeze", "--mixup", "0.2"), 2, "--mixup", "--mixup"),
    (("--weights", "w.pt", "--freeze", "--cutmix", "0.2"), 2, "--cutmix", "--cutmix"),
    (("--weights", "w.pt", "--freeze", "--feature-views", "0"), 2, "--feature-views", "16"),
    (("--weights", "w.pt", "--feature-views", "4"), 2, "--feature-views", "--freeze"),
    (("--weights", "w.pt", "--freeze", "--policy", "none", "--feature-views", "4"), 2, "none", "1"),
    (("--weights", "w.pt", "--freeze", "--policy", "flip+mixup:0.2"), 2, "mixup", "--policy"),
    (("--weights", "w.pt", "--freeze", "--head", "nonsense"), 2, "'nonsense'", "cosine:20"),
    (("--weights", "w.pt", "--freeze", "--method", "kd"), 2, "kd", "distill"),
    (("--weights", "none.pt", "--freeze"), 4, "none.pt", "--weights"),
    (("--weights", "text.pt", "--freeze"), 4, "text.pt", "torch.save"),
    (("--weights", "text.pt"), 4, "text.pt", "torch.save"),
    (("--weights", "other.pt", "--freeze"), 4, "other.pt", "--model"),
    (("--layer-decay", "0"), 2, "--layer-decay", "--help"),
    (("--layer-decay", "1.5"), 2, "--layer-decay", "--help"),
    (("--layer-decay", "nan"), 2, "--layer-decay", "--help"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "code", "name", "hint"), BAD, ids=[" ".join(b[0]) for b in BAD]
)
def test_teach_refuses(ltkd, weights, options, code, name, hint):
    Path("text.pt").write_text("no weights")
    torch.save(torch.nn.Linear(3, 3).state_dict(), "other.pt")
    assert refused(ltkd("teach", "--model", SMALL, *options), code, name, hint)
    assert not Path("runs").exists()


@pytest.mark.parametrize("first", [True, False])
def test_freeze_has_no_value_wherever_it_stands(ltkd, weights, first):
    others = ("--weights", "w.pt", "--model", SMALL, *ONE_VIEW, *SHORT)
    typed = ("--freeze", *others) if first else (*others, "--freeze")
    assert ltkd("teach", *typed).code == 0
    assert Settings.of(find(Path("runs"), "head")).freeze == "all"


def test_odd_settings_in_a_record_are_an_error_with_the_file(ltkd, weights):
    assert ltkd("teach", *FROZEN, *SHORT, "--feature-views", 1).code == 0
    edit(RUN / "run.json", lambda record: record["settings"].update(freeze="stages:many"))
    assert refused(ltkd("rebalance", "head"), 1, "run.json", "ltkd teach")


@pytest.mark.parametrize(("written", "refuses"), [("true", True), ("false", False)])
def test_a_file_of_settings_says_freeze_as_a_truth_value(ltkd, weights, written, refuses):
    Path("own.toml").write_text(f'model = "{SMALL}"\nfreeze = {written}\nepochs = 1\n')
    said = ltkd("teach", "--config", "own.toml", "--evaluate-every", 0)
    assert refused(said, 2, "--freeze", "--weights FILE") if refuses else said.code == 0, said
