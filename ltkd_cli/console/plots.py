"""Figures as files."""

from __future__ import annotations

import warnings
from pathlib import Path

from ..data import Data
from ..data.longtail import gini, imbalance_factor
from ..errors import UsageError, printable
from ..splits import GROUP_NAMES

MAX_NAMED = 30
"""Classes whose names fit below the bars."""

MAX_LETTERS = 30
"""Of a class name below its bar."""

COLOURS = {"head": "#2e7d32", "medium": "#f9a825", "tail": "#c62828"}


def class_counts(data: Data, path: Path) -> None:
    """Writes a bar chart of training images by class, the largest first, coloured by group.

    UsageError where the path has an ending that no format has, or cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts = data.train.class_counts()
    order = sorted(range(len(counts)), key=lambda c: -counts[c])
    figure = Figure(figsize=(8, 4), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    for group in GROUP_NAMES:
        places = [place for place, c in enumerate(order) if data.groups.of_class[c] == group]
        if places:
            heights = [counts[order[place]] for place in places]
            axes.bar(places, heights, width=0.9, color=COLOURS[group], label=group)
    axes.set_yscale("log")
    axes.set_ylabel("training images")
    axes.set_xlabel("class, the largest first")
    if len(counts) <= MAX_NAMED:
        names = [data.train.class_names[c][:MAX_LETTERS] for c in order]
        turn = 0 if max(map(len, names)) <= 3 else 45
        side = "right" if turn else "center"
        axes.set_xticks(range(len(counts)), names, rotation=turn, ha=side, parse_math=False)
    axes.set_title(
        f"{data.name}: {sum(counts):,} images, imbalance {imbalance_factor(counts):.4g}, "
        f"Gini {gini(counts):.2f}",
        parse_math=False,
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(title=data.groups.describe(), frameon=False)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph")  # letters that the font lacks are boxes
            canvas.print_figure(path, dpi=150, format=path.suffix[1:] or "png")
    except ValueError as error:
        problem = f"{printable(str(path))} cannot be drawn: {printable(str(error))}."
        raise UsageError(problem, "--plot counts.png") from error
    except OSError as error:
        problem = f"{printable(str(path))} cannot be written: {error.strerror}."
        raise UsageError(problem, "--plot counts.png") from error
