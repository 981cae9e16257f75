"""Which stage a weight is in, and what freezing the first of them means."""

import copy

import pytest
import torch

from ltkd_cli.errors import UsageError
from ltkd_cli.models import ModelSpec, build
from ltkd_cli.models.stages import depths, freeze

NO = (0.0, 0.0, 0.0)
ONE = (1.0, 1.0, 1.0)


def network(name):
    return build(ModelSpec(name, 5, mean=NO, std=ONE), seed=0)


@pytest.mark.parametrize(
    ("name", "stages", "where"),
    [
        ("resnet8", 3, {"conv.weight": 0, "norm.bias": 0, "stages.0.0.conv1.weight": 1}),
        ("torchvision/resnet18", 4,
         {"bn1.bias": 0, "layer1.0.bn1.bias": 1, "layer4.1.bn1.bias": 4}),
        ("torchvision/shufflenet_v2_x0_5", 3, {"conv1.0.weight": 0, "conv5.0.weight": 3}),
        ("torchvision/mobilenet_v3_small", 12,
         {"features.0.0.weight": 0, "features.1.block.0.0.weight": 1}),
    ],
)  # fmt: skip
def test_stages_are_counted_from_the_stem_to_the_head(name, stages, where):
    found = depths(network(name), coarse=True)
    assert max(found.values()) == stages
    assert {key: found[key] for key in where} == where


def test_timm_knows_the_blocks_of_its_transformers():
    pytest.importorskip("timm")
    found = depths(network("timm/test_vit"), coarse=False)
    assert found["cls_token"] == found["patch_embed.proj.weight"] == 0
    blocks = [found[name] for name in found if name.startswith("blocks.")]
    assert sorted(set(blocks)) == list(range(1, max(found.values()) + 1))


def step(net):
    net.train()
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    net(torch.rand(8, 3, 16, 16))["logits"].square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("stages", [1, 2, None])
def test_frozen_stages_keep_their_weights_and_statistics_and_the_others_move(stages):
    net = network("resnet8")
    freeze(net, stages)
    before = copy.deepcopy(net.state_dict())
    step(net)
    kept = 3 if stages is None else stages
    for name, value in net.state_dict().items():
        bare = name.removeprefix("backbone.")
        stage = 1 + int(bare.split(".")[1]) if bare.startswith("stages") else 0
        frozen = name.startswith("backbone.") and stage <= kept
        if frozen:
            assert torch.equal(value, before[name]), name
        elif "num_batches" not in name:
            assert not torch.equal(value, before[name]), name


def test_a_copy_of_a_frozen_network_is_frozen_itself():
    net = network("resnet8")
    freeze(net, 1)
    other = copy.deepcopy(net).train()
    assert not any(part is own for part in other.frozen for own in net.frozen)
    assert not other.backbone.norm.training
    assert net.backbone.stages[1].training


@pytest.mark.parametrize("stages", [0, 4])
def test_there_must_be_so_many_stages(stages):
    with pytest.raises(UsageError, match=f"3 stages .*stages:{stages}"):
        freeze(network("resnet8"), stages)
