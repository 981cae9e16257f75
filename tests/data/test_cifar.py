import hashlib
import io
import pickle

import numpy as np
import pytest
import torch
from torchvision import datasets

from ltkd_cli.data import DataSpec, load
from ltkd_cli.data.longtail import choose_rows, long_tail_counts
from ltkd_cli.errors import DataError


class OldPickler(pickle.Pickler):
    """Pickles arrays as the published CIFAR files hold them: byte order and flags as integers."""

    def reducer_override(self, value):
        if isinstance(value, np.dtype):
            return np.dtype, (value.str.lstrip("|"), 0, 1), value.__reduce__()[2]
        return NotImplemented


def write_batch(path, content):
    buffer = io.BytesIO()
    OldPickler(buffer, protocol=2).dump(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
    return [path.name, hashlib.md5(buffer.getvalue()).hexdigest()]


def batch(key, images, labels):
    return {"data": images.reshape(len(images), -1), key: labels.tolist()}


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """Writes small CIFAR archives below tmp_path; returns images [N, 3, 32, 32] and labels."""

    def write(name, classes, per_class, folder, reader, key, batches):
        generator = np.random.default_rng(classes)
        labels = generator.permutation(np.repeat(np.arange(classes), per_class))
        images = generator.integers(0, 256, (len(labels), 3, 32, 32), dtype=np.uint8)
        files = tmp_path / folder
        parts = zip(
            batches,
            np.array_split(images, len(batches)),
            np.array_split(labels, len(batches)),
            strict=True,
        )
        train_list = [write_batch(files / part, batch(key, x, y)) for part, x, y in parts]
        test = batch(key, images[::-1], labels[::-1])
        meta = {reader.meta["key"]: [f"class {c}" for c in range(classes)]}
        monkeypatch.setattr(reader, "train_list", train_list)
        monkeypatch.setattr(
            reader, "test_list", [write_batch(files / reader.test_list[0][0], test)]
        )
        name_and_md5 = write_batch(files / reader.meta["filename"], meta)
        monkeypatch.setattr(reader, "meta", {**reader.meta, "md5": name_and_md5[1]})
        return images, labels

    return write


@pytest.fixture
def cifar10(cifar):
    names = [f"data_batch_{n}" for n in range(1, 6)]
    reader = datasets.CIFAR10
    return cifar("cifar10-lt", 10, 30, "cifar-10-batches-py", reader, "labels", names)


@pytest.fixture
def cifar100(cifar):
    reader = datasets.CIFAR100
    return cifar("cifar100-lt", 100, 5, "cifar-100-python", reader, "fine_labels", ["train"])


def test_training_images_are_the_published_choice(cifar10, tmp_path):
    images, labels = cifar10
    train = load(DataSpec("cifar10-lt", root=str(tmp_path), imbalance=10)).train
    rows = choose_rows(labels, long_tail_counts(30, 10, 10), 0)
    np.testing.assert_array_equal(train.labels, labels[rows])
    np.testing.assert_array_equal(train.images.resident, images[rows])


def test_test_images_are_all_of_them_in_their_order(cifar10, tmp_path):
    images, labels = cifar10
    test = load(DataSpec("cifar10-lt", root=str(tmp_path), imbalance=10)).test
    np.testing.assert_array_equal(test.labels, labels[::-1])
    np.testing.assert_array_equal(test.images.resident, images[::-1])


def test_validation_images_are_carved_from_the_published_choice(cifar10, tmp_path):
    images, labels = cifar10
    spec = DataSpec("cifar10-lt", root=str(tmp_path), imbalance=10, validation=2)
    data = load(spec)
    rows = choose_rows(labels, long_tail_counts(30, 10, 10), 0)
    published = {image.tobytes() for image in images[rows]}
    parts = [{one.numpy().tobytes() for one in part.images.resident}
             for part in (data.train, data.validation)]  # fmt: skip
    assert parts[0] | parts[1] == published
    assert not parts[0] & parts[1]
    assert data.validation.class_counts() == [2] * 8 + [1, 1]


def test_the_imbalance_is_100_unless_told_otherwise(cifar10, tmp_path):
    with pytest.raises(DataError, match="An imbalance of 100 leaves class 7 without an image"):
        load(DataSpec("cifar10-lt", root=str(tmp_path)))  # 30 images of the largest class


def test_defaults_of_the_spec_are_filled_in(cifar10, tmp_path, monkeypatch):
    (tmp_path / "data").symlink_to(tmp_path, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    spec = load(DataSpec("cifar10-lt", imbalance=10)).spec
    assert spec == DataSpec("cifar10-lt", root="data", imbalance=10, image_size=32)


def test_cifar100_has_its_hundred_class_names(cifar100, tmp_path):
    data = load(DataSpec("cifar100-lt", root=str(tmp_path), imbalance=5))
    assert data.name == data.train.name == data.test.name == "cifar100-lt"
    assert data.train.class_names == tuple(f"class {c}" for c in range(100))
    assert data.train.class_counts() == long_tail_counts(5, 100, 5)


def test_both_sets_are_normalised_with_the_published_numbers(cifar10, cifar100, tmp_path):
    for name in ("cifar10-lt", "cifar100-lt"):
        data = load(DataSpec(name, root=str(tmp_path), imbalance=2))
        assert data.mean == (0.4914, 0.4822, 0.4465)
        assert data.std == (0.2023, 0.1994, 0.2010)
        assert data.views == "crop-flip"


def test_images_are_uint8_contiguous_and_gathered_by_row(cifar10, tmp_path):
    images = load(DataSpec("cifar10-lt", root=str(tmp_path), imbalance=10)).train.images
    assert images.resident.dtype == torch.uint8
    assert images.resident.is_contiguous()
    rows = torch.tensor([3, 0, 3])
    assert torch.equal(images.gather(rows), images.resident[rows])


def test_another_imbalance_or_seed_changes_the_fingerprint(cifar10, tmp_path):
    specs = [{"imbalance": 10}, {"imbalance": 5}, {"imbalance": 10, "imbalance_seed": 1}]
    loaded = [load(DataSpec("cifar10-lt", root=str(tmp_path), **spec)) for spec in specs]
    assert len({data.train.fingerprint for data in loaded}) == 3
    assert len({data.test.fingerprint for data in loaded}) == 1


def test_nothing_is_printed(cifar10, tmp_path, capfd):
    load(DataSpec("cifar10-lt", root=str(tmp_path), imbalance=10, download=True))
    assert capfd.readouterr() == ("", "")


def test_a_missing_folder_is_named_with_the_way_out(tmp_path):
    with pytest.raises(DataError, match=f"no folder {tmp_path}/cifar-10-batches-py") as caught:
        load(DataSpec("cifar10-lt", root=str(tmp_path)))
    assert "--download" in caught.value.hint
    assert f"{tmp_path}/cifar-10-batches-py" in caught.value.hint


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_damaged_file_is_named(cifar10, tmp_path, name):
    path = tmp_path / "cifar-10-batches-py" / name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(DataError, match=f"{name} is damaged") as caught:
        load(DataSpec("cifar10-lt", root=str(tmp_path)))
    assert "--download" in caught.value.hint


def test_a_missing_file_is_named(cifar100, tmp_path):
    (tmp_path / "cifar-100-python" / "train").unlink()
    with pytest.raises(DataError, match="cifar-100-python/train is missing"):
        load(DataSpec("cifar100-lt", root=str(tmp_path)))


def test_a_download_that_fails_says_what_to_fetch(tmp_path, monkeypatch):
    nowhere = (tmp_path / "nowhere.tar.gz").as_uri()
    monkeypatch.setattr(datasets.CIFAR10, "url", nowhere)
    with pytest.raises(DataError, match="could not be downloaded") as caught:
        load(DataSpec("cifar10-lt", root=str(tmp_path), download=True))
    assert nowhere in caught.value.hint
