"""Image sets in JSON: iNaturalist, COCO and BagofTricks-LT, as their programs write them."""

import json

import pytest

from ltkd_cli.data import DataSpec, load
from ltkd_cli.errors import DataError, DataMismatch

NAMES = {3: "Turdus merula", 1: "Amanita muscaria", 2: "Zerynthia rumina"}
TRAIN = [(7, 3), (9, 1), (4, 3), (11, 2)]
VAL = [(20, 1), (21, 3)]


def inaturalist(rows):
    """As train2018.json and val2018.json are; ids of images and categories in any order."""
    return {
        "info": {"year": 2018, "version": 1, "description": "", "contributor": "", "url": ""},
        "images": [
            {
                "id": image,
                "file_name": f"train_val2018/Aves/{category}/{image}.png",
                "height": 8,
                "width": 8,
                "license": 3,
                "rights_holder": "somebody",
            }
            for image, category in rows
        ],
        "licenses": [{"id": 3, "name": "CC BY-NC", "url": ""}],
        "annotations": [
            {"id": image, "image_id": image, "category_id": category} for image, category in rows
        ],
        "categories": [
            {"id": number, "name": name, "supercategory": "Aves", "kingdom": "Animalia"}
            for number, name in NAMES.items()
        ],
    }


def bag_of_tricks(rows):
    """As tools/convert_from_iNat.py of BagofTricks-LT writes it."""
    return {
        "annotations": [
            {
                "image_id": image,
                "im_height": 8,
                "im_width": 8,
                "category_id": category - 1,
                "fpath": f"train_val2018/Aves/{category}/{image}.png",
            }
            for image, category in rows
        ],
        "num_classes": 3,
    }


@pytest.fixture
def write(tmp_path, write_image):
    """Writes the images, and train2018.json and val2018.json; returns the spec."""
    for image, category in TRAIN + VAL:
        write_image(tmp_path / f"train_val2018/Aves/{category}/{image}.png", image)

    def write(train, val=None):
        for name, whole in (("train2018", train), ("val2018", val or inaturalist(VAL))):
            text = whole if isinstance(whole, str) else json.dumps(whole)
            (tmp_path / f"{name}.json").write_text(text)
        return DataSpec(str(tmp_path / "train2018.json"))

    return write


def test_inaturalist_is_read(write):
    data = load(write(inaturalist(TRAIN)))
    assert data.train.class_names == ("Amanita muscaria", "Zerynthia rumina", "Turdus merula")
    assert data.train.labels.tolist() == [2, 0, 2, 1]
    assert data.test.labels.tolist() == [0, 2]
    assert data.test.split == "val"
    assert data.warnings == ()


def test_annotations_may_come_in_another_order_than_images(write):
    whole = inaturalist(TRAIN)
    whole["annotations"].reverse()
    assert load(write(whole)).train.labels.tolist() == [2, 0, 2, 1]


def test_bag_of_tricks_is_read(write):
    data = load(write(bag_of_tricks(TRAIN), bag_of_tricks(VAL)))
    assert data.train.class_names == ("0", "1", "2")
    assert data.train.labels.tolist() == [2, 0, 2, 1]
    assert data.test.labels.tolist() == [0, 2]


def test_bag_of_tricks_of_imagenet_has_no_sizes(write):
    whole = bag_of_tricks(TRAIN)
    for annotation in whole["annotations"]:
        del annotation["im_height"], annotation["im_width"]
    assert load(write(whole, bag_of_tricks(VAL))).train.class_counts() == [1, 1, 2]


def test_boxes_of_one_category_are_one_label(write):
    whole = inaturalist(TRAIN)
    whole["annotations"].append({"id": 99, "image_id": 7, "category_id": 3, "bbox": [0, 0, 4, 4]})
    assert load(write(whole)).train.class_counts() == [1, 1, 2]


def test_images_without_annotation_are_left_out_and_counted(write):
    whole = inaturalist(TRAIN)
    whole["images"].append({"id": 500, "file_name": "nowhere.png"})
    data = load(write(whole))
    assert len(data.train.labels) == 4
    assert any(
        text.endswith("without an annotation, which are left out: 1.") for text in data.warnings
    )


def test_categories_without_training_images_are_left_out_and_named(write):
    whole = inaturalist(TRAIN)
    whole["categories"].append({"id": 80, "name": "Dodo"})
    data = load(write(whole))
    assert "Dodo" not in data.train.class_names
    assert any("Dodo" in text for text in data.warnings)


def test_a_category_may_be_named_by_the_words_of_others(write):
    train, val = inaturalist(TRAIN), inaturalist(VAL)
    for whole in (train, val):
        for entry, name in zip(whole["categories"], ("sea", "lion", "sea lion"), strict=True):
            entry["name"] = name
    assert "sea lion" in load(write(train, val)).train.class_names


def test_ids_may_be_text(write):
    whole = inaturalist(TRAIN)
    for image in whole["images"]:
        image["id"] = f"image-{image['id']}"
    for annotation in whole["annotations"]:
        annotation["image_id"] = f"image-{annotation['image_id']}"
    assert load(write(whole)).train.labels.tolist() == [2, 0, 2, 1]


def changed(part, number, **fields):
    """iNaturalist with one entry changed; a field of None is taken away."""
    whole = inaturalist(TRAIN)
    entry = whole[part][number]
    for name, value in fields.items():
        entry[name] = value
        if value is None:
            del entry[name]
    return whole


def without(*parts):
    return {name: value for name, value in inaturalist(TRAIN).items() if name not in parts}


SECOND = {"id": 1, "image_id": 7, "category_id": 1}

BAD = {
    "no JSON": ("path,label\n", "cannot be read as JSON"),
    "empty": ("", "cannot be read as JSON"),
    "cut off": (json.dumps(inaturalist(TRAIN))[:-50], "cannot be read as JSON"),
    "deep": ("[" * 100_000, "cannot be read as JSON"),
    "a number of 5,000 digits": ('{"annotations": ' + "7" * 5_000 + "}", "cannot be read as JSON"),
    "a list": ("[]", "no JSON object but a list"),
    "no annotations": (without("annotations"), "no list annotations"),
    "empty annotations": ({**inaturalist([]), "images": []}, "has no annotations"),
    "annotations of text": ({"annotations": ["a"]}, "no list annotations of JSON objects"),
    "no images": (without("images"), "no list images"),
    "no categories": (without("categories"), "no list categories"),
    "no file name": (changed("images", 1, file_name=None), r"images\[1\] .* no file_name"),
    "a file name of another kind": (changed("images", 1, file_name=7), r"images\[1\].*but 7"),
    "no image id": (changed("annotations", 2, image_id=None), r"annotations\[2\] .* no image_id"),
    "a category id of another kind": (changed("annotations", 2, category_id=[1]), "no category_id"),
    "a fraction as id": (changed("annotations", 2, category_id=1.5), "no category_id, but 1.5"),
    "an unknown image": (changed("annotations", 0, image_id=999), "image 999, which is not listed"),
    "an unknown category": (changed("annotations", 0, category_id=9), "category 9, which is not"),
    "no name": (changed("categories", 0, name=None), r"categories\[0\] .* no name"),
    "a name twice": (changed("categories", 0, name="Amanita muscaria"), "share a name"),
    "an escape as name": (changed("categories", 0, name="\x1b[1m"), "no plain text"),
    "two categories": (
        {**inaturalist(TRAIN), "annotations": [*inaturalist(TRAIN)["annotations"], SECOND]},
        "has two categories .*'Turdus merula' and 'Amanita muscaria'",
    ),
    "no number of classes": ({**bag_of_tricks(TRAIN), "num_classes": "3"}, "num_classes"),
    "an absurd number of classes": ({**bag_of_tricks(TRAIN), "num_classes": 10**18}, "num_classes"),
    "a label beyond the classes": ({**bag_of_tricks(TRAIN), "num_classes": 2}, "category_id 2"),
}


@pytest.mark.parametrize(("whole", "said"), BAD.values(), ids=BAD)
def test_json_that_does_not_fit_is_a_sentence(write, whole, said):
    spec = write(whole)
    with pytest.raises(DataError, match=said) as caught:
        load(spec)
    assert "train2018.json" in caught.value.problem
    assert (caught.value.exit_code, bool(caught.value.hint)) == (1, True)
    assert caught.value.problem.isprintable()
    assert len(caught.value.problem) < 400


def test_test_images_without_annotations_are_refused_by_name(write):
    spec = write(inaturalist(TRAIN), {**inaturalist(VAL), "annotations": []})
    with pytest.raises(DataError, match=r"val2018\.json has no annotations") as caught:
        load(spec)
    assert "--test-list" in caught.value.hint


def test_a_test_category_without_training_images_is_a_mismatch(write):
    with pytest.raises(DataMismatch, match="Zerynthia rumina"):
        load(write(inaturalist(TRAIN[:3]), inaturalist([(11, 2)])))


@pytest.mark.parametrize("entries", ["images", "categories"])
def test_two_entries_of_one_id_are_refused(tmp_path, entries):
    whole = inaturalist(TRAIN)
    whole[entries].append(whole[entries][0])
    (tmp_path / "train.json").write_text(json.dumps(whole))
    with pytest.raises(DataError, match=rf"{entries}\[{len(whole[entries]) - 1}\]"):
        load(DataSpec(str(tmp_path / "train.json")))
