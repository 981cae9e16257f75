"""Weight files: what is written comes back, and nothing else does."""

import dataclasses
import hashlib
import json
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ltkd_cli.errors import CheckpointError
from ltkd_cli.models import ModelSpec, build, load, save, weights_sha256

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
    "changes", [{"depth": 8}, {"classes": "ten"}, {"std": [0.1]}, {"pretrained": 1}]
)
def test_refuses_a_spec_in_other_words(written, changes):
    rewrite(written, **changes)
    refused(written, "words that this version does not know")


def test_refuses_a_spec_that_is_no_json(written):
    save_file(load_file(written), written, {"ltkd_model": "{"})
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


def test_refuses_weights_of_another_network(written):
    rewrite(written, name="resnet14")
    refused(written, "has no tensor backbone.*more")


@pytest.mark.parametrize("changes", [{"classes": 10**12}, {"projection": 10**12}])
def test_refuses_a_false_size_before_asking_for_the_memory(written, changes):
    rewrite(written, **changes)
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
