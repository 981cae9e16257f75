"""Files of every format as ltkd wrote them. They are never made again, only read."""

from pathlib import Path

import pytest
import torch

from ltkd_cli.cache import FORMAT, Cache
from ltkd_cli.cache.container import read

ARCHIVE = Path(__file__).parent / "archive"
FILES = sorted(ARCHIVE.glob("*.hdf5"))

ROWS = torch.tensor([0, 1, 1, 2, 2, 2])
VIEWS = torch.tensor([0, 0, 1, 0, 1, 2])
LOGITS = torch.tensor(
    [
        [-32.0, -7.0, 31.75],
        [-31.0, -6.0, 32.75],
        [-30.0, -5.0, 33.75],
        [-29.0, -4.0, 34.75],
        [-28.0, -3.0, 35.75],
        [-27.0, -2.0, 36.75],
    ]
)

every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def test_every_released_format_is_archived():
    assert {read(path).attributes["format"] for path in FILES} == set(range(1, FORMAT + 1))


@every_file
def test_archived_numbers_are_read(path):
    cache = Cache.open(path)
    cache.verify()
    outputs = cache.read(ROWS, VIEWS, cache.layout.names)
    assert torch.equal(outputs["logits"], LOGITS)
    if cache.layout.width:
        assert torch.equal(outputs["features"], torch.arange(18).view(6, 3) / 4)
    assert cache.layout.labels.tolist() == [0, 0, 2]
    assert cache.layout.first.tolist() == [0, 1, 3, 6]


@every_file
def test_archived_attributes_are_read(path):
    attributes = Cache.open(path).attributes
    assert attributes["fingerprint"] == "0123456789abcdef" * 4
    assert attributes["class_names"] == ["Häher", "robin", "wren"]
    assert attributes["class_counts"] == [2, 0, 1]
    assert attributes["data_spec"] == {"data": "archived", "imbalance": 2.0, "root": None}
    assert (attributes["view_policy"], attributes["view_seed"]) == ("crop-flip", 5)
    assert attributes["autocast"] is None
    assert attributes["ltkd"] == "0.1.0"


@every_file
def test_only_format_1_comes_with_a_warning(path):
    cache = Cache.open(path)
    assert len(cache.warnings) == (cache.attributes["format"] == 1)


def test_what_format_2_added_is_read():
    attributes = Cache.open(ARCHIVE / "format2.hdf5").attributes
    assert attributes["test_fingerprint"] == "fedcba9876543210" * 4
    assert attributes["policy"] == {
        "spec": "crop+flip",
        "seed": 5,
        "versions": {"resize": 1, "crop": 1, "flip": 1},
    }


@pytest.mark.parametrize(
    ("name", "frozen"),
    [
        ("format1", ["ee64a45d", "c0fe8fe0", "e914739b", "3499b882", "d074a213", "48618563"]),
        (
            "format2",
            [
                "3e713be7dadb8c15",
                "4a4bda50d23c6873",
                "aeb06f1c772f58b0",
                "4668914ea0991e37",
                "bdf469f29bb6024a",
                "51899802a2a0ce7b",
            ],
        ),
    ],
)
def test_archived_checksums_are_frozen(name, frozen):
    crc = read(ARCHIVE / f"{name}.hdf5").arrays["crc"].reshape(6, -1)
    assert ["".join(f"{value:08x}" for value in crcs) for crcs in crc] == frozen
