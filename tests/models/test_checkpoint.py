"""Weight files: what is written comes back, and nothing else does."""

import dataclasses
import hashlib
import json
import os
import sys
from random import Random

import pytest
import torch
from run_examples import DONE, create
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ltkd_cli.errors import CheckpointError
from ltkd_cli.models import ModelSpec, build, load, save, weights_sha256
from ltkd_cli.models.checkpoint import is_own

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
SPEC = ModelSpec("resnet8", 10, head="cosine:20", projection=12, mean=MEAN, std=STD)


@pytest.fixture
def written(tmp_path):
    """A good weight file."""
    path = tmp_path / "weights.safetensors"
    save(build(SPEC, seed=0), path)
    return path


def rewrite(path, tensors=None, **changes):
    """Writes a good file again with other tensors, or with another spec."""
    metadata = {"ltkd_model": json.dumps({**dataclasses.asdict(SPEC), **changes})}
    save_file(load_file(path) if tensors is None else tensors, path, metadata)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_weights_come_back_bit_for_bit(tmp_path, layout):
    network = build(SPEC, seed=5).to(memory_format=layout)
    network(torch.rand(4, 3, 16, 16))  # moves the running statistics
    save(network, tmp_path / "weights.safetensors")
    again = load(tmp_path / "weights.safetensors")
    assert again.spec == SPEC
    state, expected = again.state_dict(), network.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    images = torch.rand(2, 3, 16, 16)
    loaded_network, saved_network = again.eval(), network.to(memory_format=torch.contiguous_format)
    assert torch.equal(loaded_network(images)["logits"], saved_network.eval()(images)["logits"])


def test_a_network_that_asks_for_the_version_of_its_layers_comes_back(tmp_path):
    spec = ModelSpec("torchvision/mnasnet0_5", 3, mean=MEAN, std=STD)
    network = build(spec, seed=0)
    save(network, tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_a_header_without_metadata_is_named(written):
    whole = written.read_bytes()
    end = 8 + int.from_bytes(whole[:8], "little")
    for metadata in (None, {}):
        header = json.dumps({**json.loads(whole[8:end]), "__metadata__": metadata}).encode()
        written.write_bytes(len(header).to_bytes(8, "little") + header + whole[end:])
        assert not is_own(written.read_bytes())
        with pytest.raises(CheckpointError, match=str(written)):
            load(written)


def test_other_programs_can_read_spec_and_tensors(written):
    with safe_open(written, framework="pt") as file:
        assert json.loads(file.metadata()["ltkd_model"])["name"] == "resnet8"
    assert load_file(written)["head.weight"].shape == (10, 12)


def test_saving_replaces_the_old_file_and_leaves_nothing_else(written):
    save(build(SPEC, seed=1), written)
    assert torch.equal(load(written).head.weight, build(SPEC, seed=1).head.weight)
    assert [path.name for path in written.parent.iterdir()] == ["weights.safetensors"]


def test_loading_leaves_the_global_generator_alone(written):
    before = torch.get_rng_state()
    load(written)
    assert torch.equal(torch.get_rng_state(), before)


def test_same_weights_give_the_same_file(written, tmp_path):
    save(load(written), tmp_path / "again.safetensors")
    assert weights_sha256(tmp_path / "again.safetensors") == weights_sha256(written)


def test_digest_is_that_of_the_bytes(written):
    assert weights_sha256(written) == hashlib.sha256(written.read_bytes()).hexdigest()


def test_digest_of_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.safetensors cannot be read"):
        weights_sha256(tmp_path / "none.safetensors")


def refused(path, problem):
    with pytest.raises(CheckpointError, match=problem) as caught:
        load(path)
    assert path.name in caught.value.problem
    assert caught.value.hint


def test_refuses_a_missing_file(tmp_path):
    refused(tmp_path / "none.safetensors", "There is no weight file")


def test_refuses_a_folder(tmp_path):
    refused(tmp_path, "regular file")


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\xff" * 64])
def test_refuses_other_formats(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    refused(path, "not a whole safetensors file")


def test_refuses_a_pickle(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"head.weight": torch.zeros(2)}, path)
    refused(path, "not a whole safetensors file")


def test_refuses_a_file_that_was_cut_short(written):
    written.write_bytes(written.read_bytes()[:-1])
    refused(written, "not a whole safetensors file")


def test_refuses_weights_without_a_spec(written):
    save_file(load_file(written), written)
    refused(written, "does not say which network")


@pytest.mark.parametrize(
    "changes",
    [
        {"depth": 8},
        {"classes": "ten"},
        {"classes": 10**30},
        {"classes": 10.0},
        {"classes": True},
        {"classes": None},
        {"name": ["resnet8"]},
        {"std": [0.1]},
        {"std": [10**400, 1, 1]},
        {"std": ["0.1", "0.1", "0.1"]},
        {"mean": {"0": 1}},
        {"mean": [float("nan"), 0, 0]},
        {"pretrained": 1},
    ],
)
def test_refuses_a_spec_in_other_words(written, changes):
    rewrite(written, **changes)
    refused(written, "words that this version does not know")


@pytest.mark.parametrize("text", ["{", "", "[]", "null", "[" * 100_000, '{"a":1,"a":2}'])
def test_refuses_a_spec_that_is_no_record(written, text):
    save_file(load_file(written), written, {"ltkd_model": text})
    refused(written, "words that this version does not know")


def test_refuses_a_missing_tensor(written):
    tensors = load_file(written)
    del tensors["backbone.conv.weight"]
    rewrite(written, tensors)
    refused(written, r"has no tensor backbone\.conv\.weight\.")


def test_refuses_an_unexpected_tensor(written):
    rewrite(written, {**load_file(written), "a": torch.zeros(1), "b": torch.zeros(1)})
    refused(written, r"has an unexpected tensor a \(and 1 more\)")


def test_refuses_a_tensor_of_another_shape(written):
    rewrite(written, {**load_file(written), "backbone.conv.weight": torch.zeros(16, 3, 5, 5)})
    refused(written, r"backbone\.conv\.weight has shape \[16, 3, 5, 5\] instead of \[16, 3, 3, 3\]")


@pytest.mark.parametrize("dtype", [torch.float16, torch.int64, torch.complex64])
def test_refuses_a_tensor_of_another_type(written, dtype):
    tensors = load_file(written)
    rewrite(written, {**tensors, "head.weight": tensors["head.weight"].to(dtype)})
    refused(written, r"head\.weight is of torch")


def test_refuses_a_type_that_torch_does_not_have(written):
    data = written.read_bytes()
    written.write_bytes(data.replace(b'"dtype":"F32"', b'"dtype":"F99"', 1))
    refused(written, "not a whole safetensors file")


def test_does_not_wait_for_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "weights.safetensors")
    refused(tmp_path / "weights.safetensors", "regular file")


@pytest.mark.parametrize("name", ["weights.safetensors.partial", "weights.safetensors"])
def test_saving_follows_no_link_that_somebody_else_put_there(tmp_path, name):
    outside = tmp_path / "outside"
    outside.write_text("mine")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / name).symlink_to(outside)
    save(build(SPEC, seed=0), folder / "weights.safetensors")
    assert outside.read_text() == "mine"
    assert load(folder / "weights.safetensors").spec == SPEC


@pytest.fixture
def run(tmp_path):
    """A finished run with its weights."""
    made = create(tmp_path)
    save(build(SPEC, seed=0), made.weights)
    made.update(**{**DONE, "weights_sha256": weights_sha256(made.weights)})
    return made


def test_the_weights_of_a_run_are_those_that_it_wrote(run):
    verified = load(run.weights, run.verified_weights())
    assert torch.equal(verified.head.weight, build(SPEC, seed=0).head.weight)


def test_no_flipped_bit_in_the_weights_of_a_run_goes_unseen(run):
    good = run.weights.read_bytes()
    random = Random(0)
    places = {random.randrange(8 * len(good)) for _ in range(400)}
    for place in places | {0, 8 * len(good) - 1}:
        bad = bytearray(good)
        bad[place // 8] ^= 1 << place % 8
        run.weights.write_bytes(bad)
        with pytest.raises(CheckpointError, match=r"model\.safetensors"):
            run.verified_weights()


@pytest.mark.parametrize(
    "change", [lambda data: b"", lambda data: data[:-1], lambda data: data * 2]
)
def test_weights_of_a_run_that_are_cut_or_longer_are_refused(run, change):
    run.weights.write_bytes(change(run.weights.read_bytes()))
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        run.verified_weights()


def test_weights_of_another_run_are_refused(run):
    save(build(SPEC, seed=1), run.weights)
    load(run.weights)  # a good file, but not this run's
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        run.verified_weights()


def test_refuses_weights_of_another_network(written):
    rewrite(written, name="resnet14")
    refused(written, "has no tensor backbone.*more")


@pytest.mark.parametrize("changes", [{"classes": 10**12}, {"projection": 10**12}])
def test_refuses_a_false_size_before_asking_for_the_memory(written, changes):
    rewrite(written, **changes)
    refused(written, r"head\.weight has shape")


@pytest.mark.parametrize("shape", [(), (10,), (10, 0), (10**12, 0)])
def test_refuses_a_head_that_is_no_matrix_with_numbers(written, shape):
    tensors = load_file(written)
    rewrite(
        written,
        {**tensors, "head.weight": torch.zeros(shape)},
        classes=(shape or (10,))[0],
        projection=0,
    )
    refused(written, r"head\.weight has shape")


def test_refuses_weights_without_a_head(written):
    tensors = load_file(written)
    del tensors["head.weight"]
    rewrite(written, tensors)
    refused(written, "has no tensor head")


@pytest.mark.parametrize("changes", [{"name": "resnet9000"}, {"head": "tanh"}])
def test_refuses_a_network_that_does_not_exist(written, changes):
    rewrite(written, **changes)
    refused(written, "cannot be used here")


def test_refuses_a_timm_network_where_timm_is_missing(written, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    rewrite(written, name="timm/test_resnet")
    with pytest.raises(CheckpointError, match="not installed") as caught:
        load(written)
    assert caught.value.hint == 'pip install "ltkd[timm]"'
