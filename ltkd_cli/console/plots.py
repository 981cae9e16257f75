"""Figures as files."""

from __future__ import annotations

from pathlib import Path

from ..data import Data
from ..data.groups import GROUP_NAMES
from ..data.longtail import gini, imbalance_factor
from ..errors import UsageError

COLOURS = {"head": "#2e7d32", "medium": "#f9a825", "tail": "#c62828"}


def class_counts(data: Data, path: Path) -> None:
    """Writes a bar chart of training images by class, coloured by group; UsageError by suffix."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts = data.train.class_counts()
    figure = Figure(figsize=(8, 4), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    for group in GROUP_NAMES:
        classes = data.groups.classes(group)
        if classes:
            heights = [counts[c] for c in classes]
            axes.bar(classes, heights, width=0.9, color=COLOURS[group], label=group)
    axes.set_yscale("log")
    axes.set_ylabel("training images")
    axes.set_xlabel("class")
    if len(counts) <= 30:
        names = data.train.class_names
        turn = 0 if max(map(len, names)) <= 3 else 45
        axes.set_xticks(range(len(counts)), names, rotation=turn, ha="right" if turn else "center")
    axes.set_title(
        f"{data.name}: {sum(counts):,} images, imbalance {imbalance_factor(counts):.4g}, "
        f"Gini {gini(counts):.2f}"
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(title=data.groups.describe(), frameon=False)
    try:
        canvas.print_figure(path, dpi=150, format=path.suffix[1:] or "png")
    except ValueError as error:
        raise UsageError(f"{path} cannot be drawn: {error}.", "--plot counts.png") from error
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}.", "--plot counts.png"
        ) from error
