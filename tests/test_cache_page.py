"""What docs/cache.md says to those who read a cache with h5py alone."""

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from markdown_it import MarkdownIt

from ltkd_cli.cache import Cache, CacheWriter, Layout, trailer

PAGE = Path(__file__).parents[1] / "docs" / "cache.md"
LABELS = np.array([0, 1, 0, 2])
NAMES = ["ant", "bee", "cat"]
VIEWS = 3


def write(path, dtype="float16", width=5):
    layout = Layout.even(LABELS, len(NAMES), VIEWS, width, dtype)
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, (layout.entries, len(NAMES))).astype(np.float32)
    features = generator.random((layout.entries, width), dtype=np.float32) if width else None
    attributes = {
        "fingerprint": "f" * 64,
        "class_names": NAMES,
        "class_counts": np.bincount(LABELS).tolist(),
    }
    with CacheWriter(path, layout, attributes) as writer:
        writer.write(0, logits, features)
        return writer.finish()


def run_example(path, monkeypatch):
    blocks = [t.content for t in MarkdownIt().parse(PAGE.read_text()) if t.info == "python"]
    monkeypatch.setattr(sys, "argv", ["read.py", str(path)])
    exec(compile(blocks[0], str(PAGE), "exec"), {})


def expected(path):
    cache, views = Cache.open(path), torch.arange(VIEWS)

    def logits(rows, views):
        return cache.read(rows, views, frozenset({"logits"}))["logits"]

    last = logits(torch.full((VIEWS,), len(LABELS) - 1), views).softmax(1)[:, LABELS[-1]]
    clean = logits(torch.arange(len(LABELS)), torch.zeros(len(LABELS), dtype=torch.int64))
    labels = torch.from_numpy(LABELS)
    accuracy = (clean.argmax(1) == labels).double().mean().item()
    lines = [f"view {view}: cat {p:.3f}" for view, p in enumerate(last.tolist())]
    return "\n".join([*lines, f"accuracy on clean images: {accuracy}"])


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
@pytest.mark.parametrize("width", [0, 5])
def test_the_example_reads_what_ltkd_reads(tmp_path, monkeypatch, capsys, dtype, width):
    path = write(tmp_path / "cache.h5", dtype, width)
    run_example(path, monkeypatch)
    assert capsys.readouterr().out.strip() == expected(path)


@pytest.mark.parametrize("name", ["logits", "labels", "crc"])
def test_the_example_finds_a_changed_byte(tmp_path, monkeypatch, name):
    path = write(tmp_path / "cache.h5")
    with h5py.File(path) as file:
        offset = file[name].id.get_offset()
    changed = bytearray(path.read_bytes())
    changed[offset] ^= 1
    path.write_bytes(changed)
    with pytest.raises(AssertionError):
        run_example(path, monkeypatch)


def test_the_example_refuses_an_unfinished_file(tmp_path, monkeypatch):
    path = write(tmp_path / "cache.h5")
    path.write_bytes(path.read_bytes()[:-32] + bytes(32))
    with pytest.raises(AssertionError, match="not a complete cache"):
        run_example(path, monkeypatch)


@pytest.mark.parametrize(("classes", "width"), [(10, 0), (100, 64), (1000, 2048)])
def test_an_entry_takes_the_bytes_that_the_page_says(classes, width):
    size = {
        dtype: Layout.even(LABELS, classes, VIEWS, width, dtype).entry_size
        for dtype in ("float16", "float32", "uint8")
    }
    text = PAGE.read_text()
    for dtype, said in {
        "float16": ("2C + 5 bytes as float16", "with features 2C + 2D + 9"),
        "float32": ("As float32 it takes 4C + 5", "4C + 4D + 9"),
        "uint8": ("with logits in uint8 C + 13", "C + 2D + 17"),
    }.items():
        assert said[0] in " ".join(text.split())
        assert said[1] in " ".join(text.split())
        own = classes * {"float16": 2, "float32": 4, "uint8": 1}[dtype]
        features = width * (4 if dtype == "float32" else 2) + 4 if width else 0
        scales = 8 if dtype == "uint8" else 0
        assert size[dtype] == own + scales + features + 5


def test_the_page_says_how_long_the_footer_is_and_how_it_begins():
    text = PAGE.read_text()
    assert f"the last {trailer.FOOTER.size} bytes" in text
    assert trailer.MAGIC.hex(" ").upper() in text
