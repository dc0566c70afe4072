"""What classes are taken for: the counts of a confusion matrix, drawn."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

MOST_NAMES = 12
"""Classes that are named and counted in a figure at most."""


def draw_confusion(axes: Axes, counts: Sequence[Sequence[int]], names: Sequence[str], title: str) -> None:
    """Samples of each class (row) predicted as each class (column)."""
    # Not in squares, matplotlib's default, which would shrink this panel beside the others.
    axes.imshow(counts, cmap="Blues", aspect="auto")
    axes.set(xlabel="predicted", ylabel="class", title=title)
    if len(names) > MOST_NAMES:
        return
    axes.set_xticks(range(len(names)), names, rotation=30 if len(names) > 4 else 0)
    axes.set_yticks(range(len(names)), names)
    darkest = max(map(max, counts))
    for row, line in enumerate(counts):
        for column, n in enumerate(line):
            # A number has to be read on a dark cell as on a light one.
            color = "white" if n > darkest / 2 else "black"
            axes.text(column, row, str(n), ha="center", va="center", fontsize=8, color=color)
