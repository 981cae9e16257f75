"""Files of format 1 as ltkd 0.1.0 wrote them. They are never made again, only read."""

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
BOTH = frozenset({"logits", "features"})


def test_every_released_format_is_archived():
    assert {read(path).attributes["format"] for path in FILES} == set(range(1, FORMAT + 1))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_archived_numbers_are_read(path):
    cache = Cache.open(path)
    cache.verify()
    outputs = cache.read(ROWS, VIEWS, BOTH)
    assert torch.equal(outputs["logits"], LOGITS)
    assert torch.equal(outputs["features"], torch.arange(18).view(6, 3) / 4)
    assert cache.labels.tolist() == [0, 0, 2]
    assert cache.layout.first.tolist() == [0, 1, 3, 6]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_archived_attributes_are_read(path):
    attributes = Cache.open(path).attributes
    assert attributes["fingerprint"] == "0123456789abcdef" * 4
    assert attributes["class_names"] == ["Häher", "robin", "wren"]
    assert attributes["class_counts"] == [2, 0, 1]
    assert attributes["data_spec"] == {"data": "archived", "imbalance": 2.0, "root": None}
    assert attributes["teacher_scores"] == {"all": 0.5, "medium": None}
    assert (attributes["view_policy"], attributes["view_seed"]) == ("crop-flip", 5)
    assert attributes["autocast"] is None
    assert attributes["mix"] is False
    assert attributes["ltkd"] == "0.1.0"


def test_archived_checksums_are_frozen():
    crc = read(ARCHIVE / "format1.hdf5").arrays["crc"]
    frozen = ["ee64a45d", "c0fe8fe0", "e914739b", "3499b882", "d074a213", "48618563"]
    assert [f"{value:08x}" for value in crc] == frozen
