"""What is warned of or refused in images and scores, as far as other tests do not meet it."""

from types import SimpleNamespace

import pytest

from ltkd_cli.commands.checks import refuse_chance, warn_of_images, warn_of_network
from ltkd_cli.errors import CacheError


def images(split, counts, size=(32, 32)):
    return SimpleNamespace(
        split=split,
        class_names=("cat", "dog", "owl"),
        class_counts=lambda: counts,
        images=SimpleNamespace(size=size),
    )


def data(test, validation=None, size=(32, 32)):
    return SimpleNamespace(
        name="pets",
        warnings=(),
        train=images("train", [9, 9, 9], size),
        test=images("test", test),
        validation=validation and images("validation", validation),
    )


def texts(events):
    return [event.text for event in events]


def test_a_class_without_a_test_or_a_validation_image_is_told_of():
    assert texts(warn_of_images(data([1, 2, 3], [1, 1, 1]))) == []
    assert texts(warn_of_images(data([1, 0, 3], [1, 1, 0]))) == [
        "No test image of pets is of class dog.",
        "No validation image of pets is of class owl.",
    ]


@pytest.mark.parametrize(
    ("model", "size", "warned"),
    [
        ("resnet32", (64, 64), False),
        ("resnet32", (224, 224), True),
        ("torchvision/resnet18", (224, 224), False),
    ],
)
def test_a_network_for_cifar_on_photographs_is_told_of(model, size, warned):
    found = list(warn_of_network(model, data([1, 1, 1], size=size)))
    assert bool(found) == warned
    assert all("torchvision/resnet18" in str(event.hint) for event in found)


@pytest.mark.parametrize(("classes", "chance"), [(10, "10.0%"), (8142, "0.012%")])
def test_chance_is_a_number_with_many_classes_too(classes, chance):
    scores = {"balanced_accuracy": {"low": 0.0, "accuracy": 0.0001, "high": 0.0002}}
    with pytest.raises(CacheError, match=f"chance is {chance}"):
        list(refuse_chance("1", scores, classes, "", force=False))
