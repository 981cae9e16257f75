"""mixup, and what mixup and CutMix share: partners, shares, how often, and rendering."""

import numpy as np
import pytest
import torch
from scipy.stats import beta
from torchvision.transforms import v2

from ltkd_cli.errors import UsageError
from ltkd_cli.views.policy import Policy, mixing, render, view

DRAWN = 20_000


def first_views(count):
    rows = torch.arange(count)
    return rows, torch.ones_like(rows)


def rendered(images, rows, views, policy):
    return render(lambda wanted: images[wanted], rows, views, policy, len(images))


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0, 5.0])
def test_shares_are_of_the_beta_distribution(assert_frequencies, alpha):
    policy = Policy(f"mixup:{alpha:g}")
    shares = mixing(*first_views(DRAWN), policy, DRAWN, (32, 32)).shares
    probabilities = np.diff(beta(alpha, alpha).cdf(np.linspace(0, 1, 17)))
    assert_frequencies((shares * 16).long().clamp(max=15), probabilities)


def test_every_row_is_the_partner_equally_often(assert_frequencies):
    found = mixing(*first_views(DRAWN), Policy("mixup"), 40, (32, 32))
    assert_frequencies(found.partner_rows, [1.0] * 40)


def test_pixels_are_those_of_torchvisions_formula_rounded_once(photos):
    images = photos(64, 16, 16)
    seen = rendered(images, *first_views(64), Policy("mixup:1"))
    for own, partner_row, share, found in zip(
        images, seen.partner_rows, seen.shares, seen.images, strict=True
    ):
        # torchvision mixes each image with the one before it in the batch.
        pair = torch.stack([images[partner_row], own]).double()
        given = {"lam": float(share), "labels": None, "batch_size": 2}
        expected = v2.MixUp(num_classes=2).transform(pair, given)[1]
        assert torch.equal(expected.add(0.5).floor().byte(), found)


def test_both_sides_are_views_of_the_same_number_of_their_own_rows(photos):
    images = photos(30, 16, 16)
    rows, views = torch.arange(30), torch.arange(30) % 6
    seen = rendered(images, rows, views, Policy("crop+flip+cutout:6+mixup:1", seed=4))
    plain = Policy("crop+flip+cutout:6", seed=4)
    own = view(images, rows, views, plain).double()
    partners = view(images[seen.partner_rows], seen.partner_rows, views, plain).double()
    share = seen.shares.double()[:, None, None, None]
    assert torch.equal((own * share + partners * (1 - share)).add(0.5).floor().byte(), seen.images)


@pytest.mark.parametrize("spec", ["mixup", "cutmix", "mixup:0.8+cutmix:1"])
def test_view_zero_is_never_mixed(photos, spec):
    images, rows = photos(40, 16, 16), torch.arange(40)
    seen = rendered(images, rows, torch.zeros_like(rows), Policy(spec))
    assert torch.equal(seen.images, images)
    assert torch.equal(seen.partner_rows, rows)
    assert torch.equal(seen.shares, torch.ones(40))


@pytest.mark.parametrize("spec", ["mixup:1:0.3", "cutmix:1:0.3", "mixup:1:0.3+cutmix:1:0.3"])
def test_the_share_of_views_that_is_asked_for_is_mixed(assert_frequencies, spec):
    found = mixing(*first_views(DRAWN), Policy(spec), DRAWN, (32, 32))
    assert_frequencies(found.mixed.long(), [0.7, 0.3])
    plain = ~found.mixed
    assert torch.equal(found.partner_rows[plain], torch.arange(DRAWN)[plain])
    assert (found.shares[plain] == 1).all()


def test_mixup_and_cutmix_together_have_half_of_the_views_each(assert_frequencies):
    found = mixing(*first_views(DRAWN), Policy("mixup:0.8+cutmix:1"), DRAWN, (32, 32))
    assert found.mixed.all()
    assert_frequencies(found.blended.long(), [0.5, 0.5])
    assert not found.boxes[found.blended].any()


def test_mixtures_do_not_depend_on_the_batch_or_its_order(photos):
    images = photos(50, 16, 16)
    rows, views = torch.arange(50), torch.arange(50) % 5
    policy = Policy("crop+flip+mixup:0.8+cutmix:1")
    together = rendered(images, rows, views, policy)
    order = torch.arange(49, -1, -1)
    turned = rendered(images, rows[order], views[order], policy)
    assert torch.equal(turned.images, together.images[order])
    for place in (0, 7, 33):
        alone = rendered(images, rows[[place]], views[[place]], policy)
        assert torch.equal(alone.images[0], together.images[place])
        assert alone.shares[0] == together.shares[place]


def test_photographs_of_their_own_sizes_are_mixed_at_the_outputs_size(photos):
    sources = [photos(1, 40 + row, 60, seed=row)[0] for row in range(6)]
    rows, views = torch.arange(6), torch.ones(6, dtype=torch.long)
    seen = render(
        lambda wanted: [sources[row] for row in wanted.tolist()],
        *(rows, views, Policy("rrc+mixup"), 6, (32, 32)),
    )
    assert seen.images.shape == (6, 3, 32, 32)


def test_a_policy_that_mixes_cannot_be_seen_without_partners(photos):
    rows, views = first_views(2)
    with pytest.raises(ValueError, match="partners"):
        view(photos(2, 8, 8), rows, views, Policy("mixup"))


@pytest.mark.parametrize(
    "spec", ["mixup:0", "mixup:-1", "cutmix:1:1.5", "mixup:1:1:1", "mixup+flip"]
)
def test_bad_arguments_and_places_are_refused(spec):
    with pytest.raises(UsageError, match=r"mixup|cutmix"):
        Policy(spec)
