"""Last layers and projections against their formulas."""

import numpy as np
import pytest
import torch

from ltkd_cli.errors import UsageError
from ltkd_cli.models import ModelSpec, build
from ltkd_cli.models.head import CosineHead

HALF = (0.5, 0.5, 0.5)


def network(**options):
    return build(ModelSpec("resnet8", 7, mean=HALF, std=HALF, **options), seed=1).eval()


@pytest.mark.parametrize("head", ["linear", "cosine:20"])
@pytest.mark.parametrize("projection", [0, 24])
def test_logits_are_the_head_applied_to_the_features(head, projection):
    resnet = network(head=head, projection=projection)
    outputs = resnet(torch.rand(3, 3, 16, 16))
    assert outputs["features"].shape == (3, resnet.width)
    assert torch.equal(resnet.head(outputs["features"]), outputs["logits"])


def test_cosine_logits_are_the_scaled_cosines():
    head = CosineHead(width=6, classes=4, scale=16.0).double()
    features = torch.randn(5, 6, dtype=torch.float64)
    weights = head.weight.detach().numpy()
    expected = np.array(
        [
            [16.0 * f @ w / (np.sqrt(f @ f) * np.sqrt(w @ w)) for w in weights]
            for f in features.numpy()
        ]
    )
    np.testing.assert_allclose(head(features).detach().numpy(), expected, rtol=1e-12)


def test_cosine_head_ignores_the_length_of_features_and_weights():
    head = CosineHead(width=6, classes=4, scale=20.0).double()
    features = torch.randn(5, 6, dtype=torch.float64)
    expected = head(features)
    with torch.no_grad():
        head.weight *= 3.0
    torch.testing.assert_close(head(7.0 * features), expected)


def test_cosine_head_has_no_bias_and_starts_within_the_glorot_bound():
    head = network(head="cosine:20").head
    assert [name for name, _ in head.named_parameters()] == ["weight"]
    bound = (6 / (64 + 7)) ** 0.5
    assert 0.9 * bound < float(head.weight.detach().abs().max()) <= bound


def test_features_keep_their_length_before_a_cosine_head():
    features = network(head="cosine:20")(torch.rand(3, 3, 16, 16))["features"]
    linear = network()(torch.rand(1, 3, 16, 16))["features"]
    assert features.shape[1] == linear.shape[1]
    assert not torch.allclose(features.norm(dim=1), torch.ones(3), atol=1e-2)


def test_features_are_the_rectified_projection_of_the_pooled_ones():
    resnet = network(projection=24)
    images = torch.rand(3, 3, 16, 16)
    layer = resnet.projection[0]
    pooled = resnet.backbone(2 * images - 1)
    expected = (pooled @ layer.weight.T + layer.bias).clamp(min=0)
    torch.testing.assert_close(resnet(images)["features"], expected)


def test_linear_head_starts_kaiming_normal():
    weight = build(ModelSpec("resnet8", 1000, mean=HALF, std=HALF), seed=0).head.weight
    expected = (2 / 64) ** 0.5
    standard_error = expected / (2 * weight.numel()) ** 0.5
    assert abs(float(weight.detach().std()) - expected) < 4 * standard_error


@pytest.mark.parametrize("head", ["cosine", "cosine:", "cosine:0", "cosine:nan", "tanh", "sine:2"])
def test_unknown_heads_are_refused(head):
    with pytest.raises(UsageError, match=f"no head '{head}'") as caught:
        network(head=head)
    assert "cosine:20" in caught.value.hint
