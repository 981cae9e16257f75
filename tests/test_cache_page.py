"""What docs/cache.md says to those who read a cache with h5py alone."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from markdown_it import MarkdownIt

from ltkd_cli.cache import Cache, CacheWriter, Layout

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
    right = (clean.argmax(1) == cache.labels).double().mean().item()
    lines = [f"view {view}: cat {p:.3f}" for view, p in enumerate(last.tolist())]
    return "\n".join([*lines, f"right on clean images: {right}"])


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
@pytest.mark.parametrize("width", [0, 5])
def test_the_example_reads_what_ltkd_reads(tmp_path, monkeypatch, capsys, dtype, width):
    path = write(tmp_path / "cache.h5", dtype, width)
    run_example(path, monkeypatch)
    assert capsys.readouterr().out.strip() == expected(path)


def test_the_example_finds_a_changed_byte(tmp_path, monkeypatch):
    path = write(tmp_path / "cache.h5")
    logits = Cache.open(path).tensor("logits").numpy()
    changed = path.read_bytes().replace(logits[-1].tobytes(), logits[0].tobytes())
    path.write_bytes(changed)
    with pytest.raises(AssertionError):
        run_example(path, monkeypatch)


@pytest.mark.parametrize(("classes", "width"), [(10, 0), (100, 64), (1000, 2048)])
def test_an_entry_takes_the_bytes_that_the_page_says(classes, width):
    size = {
        dtype: Layout.even(LABELS, classes, VIEWS, width, dtype).entry_size
        for dtype in ("float16", "float32", "uint8")
    }
    text = PAGE.read_text()
    assert "2C + 2D + 5 bytes as float16" in text
    assert size["float16"] == 2 * classes + 2 * width + 5
    assert "As float32 it takes 4C + 4D + 5" in text
    assert size["float32"] == 4 * classes + 4 * width + 5
    assert "uint8 C + 2D + 13" in text
    assert size["uint8"] == classes + 2 * width + 13
