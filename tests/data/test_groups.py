import numpy as np
import pytest

from ltkd_cli.data.groups import group_classes
from ltkd_cli.data.longtail import choose_rows, gini, imbalance_factor, long_tail_counts

# classes, n_max, imbalance, N, n_min, classes > 100, 20..100 and < 20 images: the published
# long-tailed CIFAR sets (Cao et al., arXiv:1906.07413).
CIFAR = [
    (10, 5000, 200, 11_203, 25, 7, 3, 0),
    (10, 5000, 100, 12_406, 50, 8, 2, 0),
    (10, 5000, 50, 13_996, 100, 9, 1, 0),
    (10, 5000, 20, 17_023, 250, 10, 0, 0),
    (10, 5000, 10, 20_431, 500, 10, 0, 0),
    (100, 500, 200, 9_502, 2, 30, 31, 39),
    (100, 500, 100, 10_847, 5, 35, 35, 30),
    (100, 500, 50, 12_608, 10, 41, 41, 18),
    (100, 500, 20, 15_907, 25, 53, 47, 0),
    (100, 500, 10, 19_573, 50, 69, 31, 0),
]


@pytest.mark.parametrize(
    ("classes", "largest", "imbalance", "total", "smallest"), [c[:5] for c in CIFAR]
)
def test_counts_are_those_of_long_tailed_cifar(classes, largest, imbalance, total, smallest):
    counts = long_tail_counts(largest, classes, imbalance)
    assert (sum(counts), max(counts), min(counts)) == (total, largest, smallest)


@pytest.mark.parametrize("case", CIFAR)
def test_groups_by_count_are_those_of_long_tailed_cifar(case):
    classes, largest, imbalance, _, _, *sizes = case
    groups = group_classes(long_tail_counts(largest, classes, imbalance), "counts")
    assert [len(groups.classes(name)) for name in ("head", "medium", "tail")] == sizes


def test_cifar10_at_imbalance_100_has_the_published_counts():
    published = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert long_tail_counts(5000, 10, 100) == published


def test_step_keeps_the_first_half_whole():
    assert long_tail_counts(500, 5, 10, "step") == [500, 500, 50, 50, 50]


def test_an_imbalance_of_one_keeps_everything():
    assert long_tail_counts(30, 4, 1) == [30, 30, 30, 30]


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="linear"):
        long_tail_counts(30, 4, 10, "linear")


def transcription(labels, counts, seed):
    """The subset as the published code draws it: from NumPy's global generator."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    chosen = []
    for label, count in enumerate(counts):
        index = np.where(labels == label)[0]
        np.random.shuffle(index)  # noqa: NPY002
        chosen.extend(index[:count])
    np.random.set_state(before)  # noqa: NPY002
    return np.array(chosen)


@pytest.mark.parametrize("seed", [0, 1, 2026])
def test_rows_are_those_of_the_published_code(seed):
    labels = np.random.default_rng(5).permutation(np.repeat(np.arange(10), 500))
    counts = long_tail_counts(500, 10, 100)
    expected = transcription(labels, counts, seed)
    np.testing.assert_array_equal(choose_rows(labels, counts, seed), expected)


def test_choosing_rows_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    choose_rows(np.repeat(np.arange(3), 9), [5, 3, 1], 0)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_another_seed_chooses_other_rows():
    labels = np.repeat(np.arange(2), 50)
    first, second = (set(choose_rows(labels, [20, 5], seed)) for seed in (0, 1))
    assert first != second


def test_a_class_with_too_few_rows_keeps_them_all():
    labels = np.array([0, 0, 0, 1])
    assert sorted(choose_rows(labels, [2, 5], 0))[-1] == 3


def test_exactly_100_and_exactly_20_images_are_medium():
    groups = group_classes([101, 100, 20, 19])
    assert groups.rule == "counts"
    assert groups.of_class == ("head", "medium", "medium", "tail")


def test_auto_goes_by_rank_where_counting_leaves_a_group_empty():
    groups = group_classes(long_tail_counts(5000, 10, 100))
    assert groups.rule == "rank"
    assert [len(groups.classes(name)) for name in ("head", "medium", "tail")] == [3, 4, 3]


def test_counts_may_leave_a_group_empty_when_asked_to():
    assert group_classes([500, 400, 300], "counts").classes("tail") == []


def test_ranks_follow_the_counts_not_the_class_order():
    groups = group_classes([5, 900, 40], "rank")
    assert groups.of_class == ("tail", "head", "medium")


@pytest.mark.parametrize("classes", [3, 4, 5, 10, 100, 1000])
def test_no_third_is_empty(classes):
    groups = group_classes(list(range(classes, 0, -1)), "rank")
    sizes = [len(groups.classes(name)) for name in ("head", "medium", "tail")]
    assert min(sizes) > 0
    assert sum(sizes) == classes
    assert sizes[0] == sizes[2]


def test_describe_says_which_rule():
    assert "100" in group_classes([500, 50, 5]).describe()
    assert "thirds" in group_classes([500, 400, 300]).describe()


def test_imbalance_factor_compares_largest_and_smallest():
    assert imbalance_factor([50, 500, 5]) == 100


def test_imbalance_factor_survives_an_empty_class():
    assert imbalance_factor([50, 0]) == 50


def test_gini_is_zero_for_balanced_classes():
    assert gini([7, 7, 7]) == pytest.approx(0)


def test_gini_is_half_the_relative_mean_difference():
    counts = np.array([12, 1, 5, 30])
    mean_difference = np.abs(counts[:, None] - counts[None]).mean()
    assert gini(counts) == pytest.approx(mean_difference / (2 * counts.mean()))
