import math

import pytest
import torch
from frames import largest_cosine

from ltkd_cli.methods.etf import balanced_frame, procrustes


def _random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _rotation(width, seed=0):
    return torch.linalg.qr(_random(width, width, seed=seed)).Q


def _cosines(anchors):
    rows, columns = torch.triu_indices(len(anchors), len(anchors), offset=1)
    return (anchors @ anchors.T)[rows, columns]


@pytest.mark.parametrize(("classes", "width"), [(2, 1), (3, 2), (10, 9), (10, 64), (101, 100)])
def test_all_pairwise_cosines_of_a_simplex_are_equal(classes, width):
    cosines = _cosines(balanced_frame(classes, width))
    torch.testing.assert_close(cosines, torch.full_like(cosines, -1 / (classes - 1)))


@pytest.mark.parametrize(("classes", "width"), [(4, 3), (10, 64), (10, 7), (100, 64), (60, 8)])
def test_anchors_have_unit_length(classes, width):
    anchors = balanced_frame(classes, width)
    assert anchors.shape == (classes, min(width, classes - 1))
    torch.testing.assert_close(anchors.norm(dim=1), torch.ones(classes, dtype=torch.float64))


@pytest.mark.parametrize(("classes", "width"), [(5, 3), (10, 5), (100, 64), (128, 64)])
def test_largest_cosine_is_zero_up_to_twice_as_many_classes_as_dimensions(classes, width):
    anchors = balanced_frame(classes, width)
    assert largest_cosine(anchors) == pytest.approx(0, abs=1e-12)
    assert anchors.sum(0).norm() < 1e-12


@pytest.mark.parametrize(
    ("classes", "width", "optimum"),
    [
        (5, 2, math.cos(2 * math.pi / 5)),  # pentagon
        (7, 2, math.cos(2 * math.pi / 7)),
        (12, 3, 1 / math.sqrt(5)),  # icosahedron
        (16, 5, 1 / 5),  # Clebsch graph
        (24, 4, 1 / 2),  # 24-cell
    ],
)
def test_search_comes_close_to_known_optima(classes, width, optimum):
    assert largest_cosine(balanced_frame(classes, width)) == pytest.approx(optimum, abs=0.005)


def test_search_is_left_out_where_it_would_take_long():
    anchors = balanced_frame(8142, 8)
    torch.testing.assert_close(anchors.norm(dim=1), torch.ones(8142, dtype=torch.float64))
    within = anchors[:16] @ anchors[:16].T
    signs = torch.eye(8, dtype=torch.float64)
    torch.testing.assert_close(within, torch.cat([signs, -signs]) @ torch.cat([signs, -signs]).T)


@pytest.mark.parametrize(("classes", "width"), [(10, 64), (100, 64), (40, 6)])
def test_same_sizes_give_the_same_frame_and_leave_the_global_generator_alone(classes, width):
    before = torch.random.get_rng_state()
    first, second = balanced_frame(classes, width), balanced_frame(classes, width)
    assert torch.equal(first, second)
    assert torch.equal(before, torch.random.get_rng_state())


def test_procrustes_recovers_a_known_rotation():
    anchors, rotation = _random(20, 6), _rotation(6, seed=1)
    torch.testing.assert_close(procrustes(anchors, anchors @ rotation), rotation)


def test_procrustes_recovers_an_embedding_into_more_dimensions():
    anchors, embedding = _random(20, 6), _rotation(9, seed=1)[:6]
    torch.testing.assert_close(procrustes(anchors, anchors @ embedding), embedding)


@pytest.mark.parametrize("missing", [0, 3, 10])
def test_procrustes_keeps_lengths_and_angles_even_where_class_means_are_missing(missing):
    anchors, targets = balanced_frame(10, 16), _random(10, 16)
    targets[:missing] = 0
    rotation = procrustes(anchors, targets)
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(9, dtype=torch.float64))


def test_no_other_rotation_comes_closer():
    anchors, targets = balanced_frame(5, 4), _random(5, 7)
    best = (anchors @ procrustes(anchors, targets) - targets).norm()
    others = [(anchors @ _rotation(7, seed)[:4] - targets).norm() for seed in range(50)]
    assert best < min(others)
