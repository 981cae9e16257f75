import pytest
import torch
from example_cache import LABELS, example_attributes, export

from ltkd_cli.cache import Cache
from ltkd_cli.errors import CacheMismatch


def given(**changed):
    """The example's image set as `Cache.check` takes it."""
    attributes = example_attributes()
    names = ("fingerprint", "class_names", "class_counts", "image_set", "data_spec")
    return {
        **{name: attributes[name] for name in names},
        "labels": torch.from_numpy(LABELS).long(),
        **changed,
    }


def refusal(cache, **changed):
    with pytest.raises(CacheMismatch) as caught:
        cache.check(**given(**changed))
    assert caught.value.exit_code == 3
    assert caught.value.hint.startswith("leave out --data")
    assert str(cache.path) in caught.value.problem
    return caught.value.problem


def test_the_image_set_it_was_made_for_fits(cache):
    cache.check(**given())


def test_where_the_images_lie_does_not_matter(cache):
    cache.check(**given(data_spec={"data": "/moved/example", "root": "/elsewhere"}))


def test_another_fingerprint_is_refused(cache):
    assert "\n  fingerprint: cache has " in refusal(cache, fingerprint="0" * 64)


def test_another_imbalance_and_seed_are_named_field_by_field(cache):
    spec = {"data": "example", "imbalance": 100.0, "imbalance_seed": 1, "root": "/mine"}
    problem = refusal(cache, fingerprint="0" * 64, data_spec=spec)
    assert "\n  data_spec.imbalance: cache has 3.0, image set has 100.0" in problem
    assert "\n  data_spec.imbalance_seed: cache has 0, image set has 1" in problem
    assert "data_spec.root" not in problem


def test_another_image_set_is_named(cache):
    problem = refusal(cache, fingerprint="0" * 64, image_set="cifar10-lt")
    assert '\n  image_set: cache has "example", image set has "cifar10-lt"' in problem


def test_other_class_counts_are_named(cache):
    problem = refusal(cache, class_counts=[3, 1, 2])
    assert "\n  class_counts[1]: cache has 2, image set has 1" in problem


def test_other_labels_are_named(cache):
    problem = refusal(cache, labels=torch.tensor([0, 0, 0, 1, 2, 1]))
    assert "\n  labels[4]: cache has 1, image set has 2" in problem


def test_another_number_of_rows_is_named(cache):
    problem = refusal(cache, labels=torch.tensor([0, 0, 0, 1, 1]))
    assert "\n  labels[5]: cache has 2, image set has nothing" in problem


def test_another_class_order_is_named(cache):
    problem = refusal(cache, class_names=("ant", "cat", "bee"))
    assert '\n  class_names[1]: cache has "bee", image set has "cat"' in problem


def test_other_classes_are_named(cache):
    problem = refusal(cache, class_names=["ant", "bee", "dog"])
    assert '\n  class_names[2]: cache has "cat", image set has "dog"' in problem


def test_another_number_of_classes_is_named(cache):
    problem = refusal(cache, class_names=["ant", "bee"])
    assert '\n  class_names[2]: cache has "cat", image set has nothing' in problem


def test_more_differences_than_fit_are_counted(cache):
    spec = {f"field{i:02}": i for i in range(20)}
    problem = refusal(cache, fingerprint="0" * 64, data_spec=spec)
    assert problem.count("\n") == 13
    assert problem.endswith("more")


def test_views_of_another_version_are_refused(cache):
    cache.check_view_version(1)
    with pytest.raises(CacheMismatch, match=r"views of version 1, .* version 2") as caught:
        cache.check_view_version(2)
    hint = str(caught.value.hint)
    assert hint.startswith("ltkd export-logits 0001-teach --views 3 --policy crop")
    assert hint.endswith(f"--output {cache.path} --force")


def test_a_cache_that_names_no_view_version_is_refused(path):
    attributes = example_attributes()
    del attributes["view_version"]
    cache = Cache.open(export(path, attributes=attributes))
    with pytest.raises(CacheMismatch, match="version None"):
        cache.check_view_version(1)
