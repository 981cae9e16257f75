"""The classes of an image set as bars: on the terminal, and in a figure."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from ltkd_cli.console.images import print_data
from ltkd_cli.console.plots import class_counts
from ltkd_cli.data import DataSpec, load

CLASSES = 41


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """41 classes of 2, 4, 6, ... training images."""
    path = tmp_path_factory.mktemp("data") / "pets.npz"
    labels = np.repeat(np.arange(CLASSES), 2 * np.arange(1, CLASSES + 1))
    arrays = {"train_labels": labels, "test_labels": np.arange(CLASSES)}
    for split in ("train", "test"):
        count = len(arrays[f"{split}_labels"])
        values = np.random.default_rng(count).integers(0, 256, (count, 4, 4), dtype=np.uint8)
        arrays[f"{split}_images"] = values
    np.savez(path, **arrays)
    return load(DataSpec(str(path)))


def test_of_more_than_40_classes_neighbours_by_size_share_a_bar_of_their_mean(data, capsys):
    print_data(data)
    bars = [line.split() for line in capsys.readouterr().out.splitlines() if "█" in line]
    assert len(bars) == 21
    assert [bars[n][0::2] for n in (0, 1, -2, -1)] == [
        ["1-2", "81"], ["3-4", "77"], ["39-40", "5"], ["41-41", "2"],
    ]  # fmt: skip
    assert [len(bars[n][1]) for n in (0, 10, -1)] == [40, 20, 1]


def test_a_figure_has_a_bar_as_high_as_each_class_the_largest_first(data, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        FigureCanvasAgg, "print_figure", lambda canvas, path, **how: drawn.append(canvas.figure)
    )
    class_counts(data, tmp_path / "counts.png")
    bars = sorted((bar.get_x(), bar.get_height()) for bar in drawn[0].axes[0].patches)
    assert [height for _, height in bars] == [2 * (CLASSES - place) for place in range(CLASSES)]
