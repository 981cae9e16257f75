"""Weights from elsewhere: every usual way to write a state dict, and what is refused."""

import pickle
import zipfile

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from ltkd_cli.errors import CheckpointError, UsageError
from ltkd_cli.models import ModelSpec, build, load, save
from ltkd_cli.models.weights import network_with, read, whole_network

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
SMALL = "torchvision/shufflenet_v2_x0_5"


def original(classes=5):
    torch.manual_seed(1)
    return torchvision.models.get_model("shufflenet_v2_x0_5", num_classes=classes).eval()


def prefixed(prefix, tensors):
    return {prefix + name: tensor for name, tensor in tensors.items()}


def body(tensors, prefix="module."):
    return prefixed(prefix, {k: v for k, v in tensors.items() if not k.startswith("fc.")})


def last(tensors, prefix="module."):
    return prefixed(prefix, {k: v for k, v in tensors.items() if k.startswith("fc.")})


def in_parts(tensors):
    """Backbone and classifier as the code of classifier-balancing saves them."""
    parts = {"feat_model": body(tensors), "classifier": last(tensors)}
    return {"state_dict_best": parts, "best_epoch": 3, "best_acc": 0.5, "centroids": None}


def with_scale(tensors):
    """The same of MiSLAS."""
    return {
        "epoch": 3,
        "state_dict_model": body(tensors),
        "state_dict_classifier": last(tensors),
        "state_dict_lws_model": {"module.learned_norm": torch.ones(1, 5)},
        "best_acc1": torch.tensor(70.0),
    }


WRITTEN = {
    "plain": lambda s: s,
    "DataParallel": lambda s: prefixed("module.", s),
    "trainer": lambda s: {"epoch": 3, "best": torch.tensor(0.5), "state_dict": s},
    "trainer with DataParallel": lambda s: {"state_dict": prefixed("module.", s)},
    "timm": lambda s: {"arch": "x", "epoch": 1, "state_dict": s, "optimizer": {"state": {}}},
    "model": lambda s: {"model": s, "args": {"lr": 0.1}},
    "model_state": lambda s: {"model_state": prefixed("_orig_mod.", s)},
    "lightning": lambda s: {"state_dict": prefixed("model.", s), "hyper_parameters": {}},
    "deep": lambda s: {"checkpoint": {"model": {"weights": s}}},
    "backbone and head": lambda s: {
        **prefixed("backbone.", {k: v for k, v in s.items() if not k.startswith("fc.")}),
        "head.weight": s["fc.weight"],
        "head.bias": s["fc.bias"],
    },
    "encoder and fc in module": lambda s: {
        **prefixed("module.encoder.", {k: v for k, v in s.items() if not k.startswith("fc.")}),
        "module.fc.weight": s["fc.weight"],
        "module.fc.bias": s["fc.bias"],
    },
    "feat_model and classifier": in_parts,
    "state_dict_model and state_dict_classifier": with_scale,
    "backbone and a bare layer": lambda s: {
        "backbone": body(s, ""),
        "head": {"weight": s["fc.weight"], "bias": s["fc.bias"]},
    },
    "backbone below its head": lambda s: {"backbone": body(s, ""), **last(s, "")},
    "with a projector": lambda s: {**s, "projector.0.weight": torch.rand(3, 3)},
    "without counts of batches": lambda s: {
        k: v for k, v in s.items() if not k.endswith("num_batches_tracked")
    },
    "half precision": lambda s: {k: v.half() if v.is_floating_point() else v for k, v in s.items()},
}


def expected(network, images, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)):
    """The original's logits for the images, normalised."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (mean, std))
    with torch.no_grad():
        return network((images - mean) / std)


@pytest.mark.parametrize("form", WRITTEN)
def test_every_usual_form_gives_the_original_s_logits(tmp_path, form):
    network, images = original(), torch.rand(2, 3, 32, 32)
    torch.save(WRITTEN[form](network.state_dict()), tmp_path / "w.pt")
    ours = whole_network(read(tmp_path / "w.pt", SMALL), MEAN, STD).eval()
    close = {"rtol": 2e-2, "atol": 2e-3} if form == "half precision" else {}
    torch.testing.assert_close(ours(images)["logits"], expected(network, images), **close)


def test_safetensors_of_any_name_are_known_by_their_bytes(tmp_path):
    save_file(original().state_dict(), tmp_path / "weights.bin")
    assert read(tmp_path / "weights.bin", SMALL).classes == 5


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext", "test_efficientnet"])
def test_networks_of_timm_give_the_original_s_logits(tmp_path, name):
    timm = pytest.importorskip("timm")
    network = timm.create_model(name, num_classes=7).eval()
    torch.save({"state_dict": prefixed("module.", network.state_dict())}, tmp_path / "w.pth")
    ours = whole_network(read(tmp_path / "w.pth", f"timm/{name}"), MEAN, STD).eval()
    images = torch.rand(2, 3, 160, 160)
    facts = network.pretrained_cfg
    mean, std = (torch.tensor(facts[key])[:, None, None] for key in ("mean", "std"))
    with torch.no_grad():
        wanted = network((images - mean) / std)
        torch.testing.assert_close(ours(images)["logits"], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "convnext_tiny"])
def test_a_classifier_may_be_one_of_several_layers(tmp_path, name):
    network = torchvision.models.get_model(name, num_classes=5).eval()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    ours = whole_network(read(tmp_path / "w.pth", f"torchvision/{name}"), MEAN, STD).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images)["logits"], expected(network, images))


def test_the_code_of_ldam_names_the_parts_of_a_resnet_otherwise(tmp_path):
    ours = build(ModelSpec("resnet14", 4, mean=MEAN, std=STD), seed=3)
    theirs = {}
    for name, tensor in ours.state_dict().items():
        name = name.removeprefix("backbone.").replace("head.", "linear.")
        if name.startswith("stages."):
            stage, rest = name.removeprefix("stages.").split(".", 1)
            name = f"layer{int(stage) + 1}.{rest.replace('norm', 'bn')}"
        else:
            name = name.replace("conv.", "conv1.").replace("norm.", "bn1.")
        theirs[f"module.{name}"] = tensor
    assert "module.layer2.0.bn1.weight" in theirs
    torch.save({"state_dict": theirs, "arch": "resnet14"}, tmp_path / "ckpt.best.pth.tar")
    found = whole_network(read(tmp_path / "ckpt.best.pth.tar", "resnet14"), MEAN, STD)
    assert found.spec.mean == pytest.approx(MEAN)
    state = found.state_dict()
    assert all(torch.equal(state[key], value) for key, value in ours.state_dict().items())


def test_a_run_s_own_file_says_what_it_is_of(tmp_path):
    own = build(ModelSpec("resnet8", 4, head="cosine:20", mean=MEAN, std=STD), seed=3)
    save(own, tmp_path / "model.safetensors")
    weights = read(tmp_path / "model.safetensors", "")
    assert (weights.model, weights.classes) == ("resnet8", 4)
    again = network_with(ModelSpec("resnet8", 9, mean=(0, 0, 0), std=(1, 1, 1)), weights, seed=0)
    assert again.spec.mean == own.spec.mean
    assert again.head.weight.shape[0] == 9
    state = again.backbone.state_dict()
    assert all(torch.equal(state[key], value) for key, value in own.backbone.state_dict().items())
    with pytest.raises(CheckpointError, match="resnet8, not of resnet14"):
        read(tmp_path / "model.safetensors", "resnet14")


def test_of_several_networks_in_a_file_the_moving_average_is_taken(tmp_path):
    first, average = original(), original()
    with torch.no_grad():
        average.fc.bias.fill_(7)
    parts = {"state_dict": first.state_dict(), "state_dict_ema": average.state_dict()}
    torch.save(parts, tmp_path / "w.pt")
    weights = read(tmp_path / "w.pt", SMALL)
    assert weights.matched.part == "state_dict_ema"
    assert torch.equal(weights.matched.head["bias"], torch.full((5,), 7.0))


def test_a_backbone_s_mask_token_is_left_out_as_dinov2_has_one(tmp_path):
    timm = pytest.importorskip("timm")
    network = timm.create_model("test_vit", num_classes=0)
    torch.save({**network.state_dict(), "mask_token": torch.zeros(1, 64)}, tmp_path / "dino.pth")
    weights = read(tmp_path / "dino.pth", "timm/test_vit")
    assert weights.classes == 0
    with pytest.raises(CheckpointError, match="no linear head") as caught:
        whole_network(weights, MEAN, STD)
    assert "--freeze" in str(caught.value.hint)


def test_a_head_in_another_part_is_named_with_what_else_the_file_has(tmp_path):
    torch.save(with_scale(original().state_dict()), tmp_path / "w.pt")
    matched = read(tmp_path / "w.pt", SMALL).matched
    assert (matched.part, matched.prefix) == ("state_dict_model", "module.")
    assert str(matched.elsewhere) == "part state_dict_classifier prefix module.fc."
    assert matched.scales == "state_dict_lws_model.module.learned_norm"
    assert matched.unused == ()


def test_learned_scales_multiply_a_head_in_the_same_part(tmp_path):
    tensors, scales = original().state_dict(), torch.rand(5) + 0.5
    for name, more in (("plain", {}), ("scaled", {"scales": scales})):
        torch.save({"state_dict": {**prefixed("module.", tensors), **more}}, tmp_path / name)
    images = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        before, after = (
            whole_network(read(tmp_path / name, SMALL), MEAN, STD).eval()(images)["logits"]
            for name in ("plain", "scaled")
        )
    torch.testing.assert_close(after, before * scales)


@pytest.mark.parametrize("shape", [(5,), (1, 5)])
@pytest.mark.parametrize("name", ["scales", "learned_norm"])
def test_learned_scales_multiply_the_logits_of_a_head_in_another_part(tmp_path, name, shape):
    parts, scales = in_parts(original().state_dict()), torch.rand(shape) + 0.5
    torch.save(parts, tmp_path / "plain.pt")
    parts["state_dict_best"]["classifier"][f"module.{name}"] = scales
    torch.save(parts, tmp_path / "scaled.pt")
    plain, scaled = (read(tmp_path / f"{which}.pt", SMALL) for which in ("plain", "scaled"))
    images = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        before, after = (
            whole_network(weights, MEAN, STD).eval()(images)["logits"]
            for weights in (plain, scaled)
        )
    torch.testing.assert_close(after, before * scales)
    assert scaled.matched.scales == f"state_dict_best.classifier.module.{name}"
    assert scaled.matched.unused == plain.matched.unused
    assert scaled.record()["head"] == "part state_dict_best.classifier prefix module.fc."


@pytest.mark.parametrize("others", [{"module.scales": torch.ones(4)}, {
    "module.scales": torch.ones(5), "module.learned_norm": torch.ones(5),
}])  # fmt: skip
def test_what_may_be_no_scales_is_named_and_not_used(tmp_path, others):
    parts = in_parts(original().state_dict())
    parts["state_dict_best"]["classifier"] |= others
    torch.save(parts, tmp_path / "w.pt")
    matched = read(tmp_path / "w.pt", SMALL).matched
    assert matched.scales == ""
    assert matched.unused == tuple(f"state_dict_best.classifier.{name}" for name in others)


def test_a_head_in_another_part_may_have_no_bias(tmp_path):
    parts = in_parts(original().state_dict())
    del parts["state_dict_best"]["classifier"]["module.fc.bias"]
    torch.save(parts, tmp_path / "w.pt")
    assert torch.equal(read(tmp_path / "w.pt", SMALL).matched.head["bias"], torch.zeros(5))


def test_a_head_of_the_backbone_s_own_part_goes_before_others(tmp_path):
    s = original().state_dict()
    torch.save({"model": s, "classifier": last(original(classes=9).state_dict())}, tmp_path / "w")
    weights = read(tmp_path / "w", SMALL)
    assert (weights.classes, weights.matched.elsewhere) == (5, None)


def test_of_several_layers_in_other_parts_none_is_taken_and_all_are_named(tmp_path):
    parts = in_parts(original().state_dict())
    parts["balanced"] = last(original().state_dict())
    torch.save(parts, tmp_path / "w.pt")
    error = refused(tmp_path / "w.pt", SMALL, "several linear heads")
    assert "part state_dict_best.classifier prefix module.fc., part balanced" in error.problem
    weights = read(tmp_path / "w.pt", SMALL)  # enough for a head of one's own
    assert (weights.classes, "head" in weights.record()) == (0, False)


OTHER_PARTS = {
    "another width": {"fc.weight": torch.zeros(5, 9), "fc.bias": torch.zeros(5)},
    "a bias of other classes": {"fc.weight": torch.zeros(5, 1024), "fc.bias": torch.zeros(6)},
    "no layer": {"scale": torch.zeros(5, 1024)},
}


@pytest.mark.parametrize("what", OTHER_PARTS)
def test_where_no_part_has_a_head_the_parts_are_named(tmp_path, what):
    parts = {"encoder": body(original().state_dict()), "other": OTHER_PARTS[what]}
    torch.save(parts, tmp_path / "w.pt")
    error = refused(tmp_path / "w.pt", SMALL, "no linear head")
    assert "its parts are encoder, other" in error.problem


def test_the_head_of_another_network_in_the_file_is_not_taken(tmp_path):
    student, teacher = (original().state_dict() for _ in range(2))
    torch.save({"student": body(student), "other": {**teacher, "x": teacher["fc.bias"]}},
               tmp_path / "w.pt")  # fmt: skip
    weights = read(tmp_path / "w.pt", SMALL)
    assert weights.matched.part == "student"
    refused(tmp_path / "w.pt", SMALL, "no linear head")


def test_mean_and_std_that_are_given_go_before_those_of_the_zoo(tmp_path):
    network, images = original().train(), torch.rand(8, 3, 32, 32)
    for _ in range(20):  # without statistics of images, those hardly change the outputs
        network(images)
    torch.save(network.eval().state_dict(), tmp_path / "w.pt")
    mean, std = (0.466, 0.471, 0.38), (0.195, 0.194, 0.192)
    weights = read(tmp_path / "w.pt", SMALL).normalised(mean, std)
    ours = whole_network(weights, MEAN, STD).eval()
    assert (ours.spec.mean, ours.spec.std) == (mean, std)
    wanted = expected(network, images, mean, std)
    torch.testing.assert_close(ours(images)["logits"], wanted, rtol=1e-4, atol=1e-4)
    assert (wanted - expected(network, images)).abs().max() > 1e-3
    assert weights.record()["mean"] == "0.466,0.471,0.38"
    save(ours, tmp_path / "own.safetensors")
    assert load(tmp_path / "own.safetensors").spec == ours.spec


def test_mean_and_std_that_are_given_go_before_those_of_the_data_set(tmp_path):
    small = build(ModelSpec("resnet8", 4, mean=MEAN, std=STD), seed=3)
    torch.save(small.state_dict(), tmp_path / "w.pt")
    weights = read(tmp_path / "w.pt", "resnet8").normalised((0.5, 0.5, 0.5), (1.0, 0.5, 0.25))
    assert whole_network(weights, MEAN, STD).spec.std == (1.0, 0.5, 0.25)


def test_the_usual_mean_and_std_are_the_same_whether_given_or_not(tmp_path):
    torch.save(original().state_dict(), tmp_path / "w.pt")
    weights = read(tmp_path / "w.pt", SMALL)
    assert weights.normalised(*weights.statistics).record() == weights.record()


def test_a_run_s_own_file_takes_no_other_mean_and_std(tmp_path):
    save(build(ModelSpec("resnet8", 4, mean=MEAN, std=STD), seed=3), tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match=r"w\.safetensors holds the mean"):
        read(tmp_path / "w.safetensors", "").normalised(MEAN, STD)


def refused(path, model, match, error=CheckpointError):
    with pytest.raises(error, match=match) as caught:
        whole_network(read(path, model), MEAN, STD)
    assert str(caught.value.hint)
    return caught.value


def changed(**others):
    return {**original().state_dict(), **{key.replace("__", "."): v for key, v in others.items()}}


def without(*names):
    return {k: v for k, v in original().state_dict().items() if k not in names}


BAD = {
    "another network": (lambda: torch.nn.Linear(3, 4).state_dict(), "lacks all tensors"),
    "a layer missing": (lambda: without("conv5.0.weight"), r"lacks 1 of .*conv5\.0\.weight"),
    "a layer too many": (lambda: changed(stage2__9__x=torch.zeros(1)), r"stage2\.9\.x"),
    "another shape": (lambda: changed(conv1__0__weight=torch.zeros(24, 3, 5, 5)), r"24, 3, 5, 5"),
    "no head": (lambda: without("fc.weight", "fc.bias"), "no linear head"),
    "a head of another width": (lambda: changed(fc__weight=torch.zeros(5, 9)), "no linear head"),
    "not a number": (
        lambda: changed(conv1__1__bias=torch.full((24,), float("nan"))), "not finite"),
    "no tensors": (lambda: {"state_dict": {"a": 1}}, "no tensors"),
    "a list": (lambda: [torch.zeros(3)], "no tensors"),
    "one tensor": (lambda: torch.zeros(3), "no tensors"),
    "sparse": (lambda: {"a": torch.eye(3).to_sparse()}, "no tensors"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_weights_that_do_not_fit_are_refused_with_the_tensor_s_name(tmp_path, what):
    make, match = BAD[what]
    torch.save(make(), tmp_path / "w.pt")
    assert "w.pt" in refused(tmp_path / "w.pt", SMALL, match).problem


class Mine:
    """Of a type that no file may name."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('was run')",))


@pytest.mark.parametrize("content", [Mine(), {"state_dict": {}, "args": Mine()}])
def test_nothing_in_a_file_is_run(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    error = refused(tmp_path / "w.pt", SMALL, r"Python objects \(.*exec\)")
    assert "torch.save(" in str(error.hint)


def test_a_bare_pickle_is_refused(tmp_path):
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(Mine()))
    refused(tmp_path / "w.pkl", SMALL, r"w\.pkl")


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x89HDF\r\n\x1a\n" + bytes(99), b"PK\x03\x04"]
)
def test_files_of_other_kinds_are_refused(tmp_path, content):
    (tmp_path / "w.bin").write_bytes(content)
    refused(tmp_path / "w.bin", SMALL, r"w\.bin")


def test_an_archive_of_another_kind_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("a.npy", b"x")
    refused(tmp_path / "w.npz", SMALL, r"w\.npz")


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_a_flipped_bit_in_torch_s_archive_is_noticed(tmp_path, place):
    torch.save(original().state_dict(), tmp_path / "w.pt")
    data = bytearray((tmp_path / "w.pt").read_bytes())
    data[int(len(data) * place)] ^= 4
    (tmp_path / "w.pt").write_bytes(data)
    refused(tmp_path / "w.pt", SMALL, r"w\.pt is neither")


def test_a_safetensors_file_cut_short_is_refused(tmp_path):
    save_file(original().state_dict(), tmp_path / "w.safetensors")
    data = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(data[:-9])
    refused(tmp_path / "w.safetensors", SMALL, r"w\.safetensors is neither")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    refused(tmp_path / "none.pt", SMALL, r"no weight file .*none\.pt")
    refused(tmp_path, SMALL, "cannot be read")


def test_a_file_of_others_needs_the_network_s_name(tmp_path):
    torch.save(original().state_dict(), tmp_path / "w.pt")
    refused(tmp_path / "w.pt", "", r"w\.pt does not say", UsageError)
    refused(tmp_path / "w.pt", "torchvision/nonsense", "no network", UsageError)


def test_a_smaller_network_does_not_take_a_part_of_a_larger_one(tmp_path):
    torch.save(
        build(ModelSpec("resnet14", 4, mean=MEAN, std=STD), 0).state_dict(), tmp_path / "w.pt"
    )
    refused(tmp_path / "w.pt", "resnet8", r"tensors that the network lacks")


def test_a_head_that_is_more_than_a_linear_layer_is_refused(tmp_path):
    torch.save(torchvision.models.squeezenet1_1(num_classes=5).state_dict(), tmp_path / "w.pt")
    refused(tmp_path / "w.pt", "torchvision/squeezenet1_1", "no linear head")


def test_outputs_that_differ_from_the_library_s_own_are_refused(tmp_path):
    timm = pytest.importorskip("timm")
    network = timm.create_model("levit_128s", num_classes=5)
    torch.save(network.state_dict(), tmp_path / "w.pt")
    refused(tmp_path / "w.pt", "timm/levit_128s", "head")
