"""The figure of runs that predict together: their mean, and how far they disagree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from torch import Tensor

from shoal.pictures.confusion import MOST_NAMES, draw_confusion
from shoal.record.figures.colors import BLUE, DARK, GRAY, ORANGE
from shoal.record.figures.dots import area


@dataclass(frozen=True, kw_only=True)
class Consensus:
    """What several runs say of the same inputs, a number each: their mean, its band, and their standard deviation."""

    n: int
    """How many runs."""
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    std: Sequence[float]
    share: str
    """Of the runs, in words, how many lie between `low` and `high`."""


def curve_figure(
    said: Consensus,
    x: Tensor,
    samples: tuple[Tensor, Tensor],
    truth: Tensor | None,
    labels: Mapping[str, str],
    title: str,
) -> Figure:
    """The mean over one input with its band, beside the training samples, and how far the runs disagree there."""
    figure, (fit, spread) = _panels(title)
    fit.scatter(*samples, s=area(len(samples[0])), color=GRAY, alpha=0.5, linewidths=0, label="data")
    if truth is not None:
        fit.plot(x, truth, color=ORANGE, linewidth=2.5, label="true function")
    fit.fill_between(x, said.low, said.high, color=BLUE, alpha=0.3, linewidth=0, label=said.share)
    fit.plot(x, said.mean, color=BLUE, linestyle="--", linewidth=1.8, label=f"mean of {said.n} runs")
    fit.set(xlabel=labels["x"], ylabel=labels["y"], title="Fit")
    spread.plot(x, said.std, color=BLUE, label="standard deviation of the runs")
    if truth is not None:
        off = [abs(mean - true) for mean, true in zip(said.mean, truth.tolist(), strict=True)]
        spread.plot(x, off, color=DARK, linestyle=":", label="distance of their mean from the truth")
    spread.set(xlabel=labels["x"], ylabel=labels["y"], title="How far they disagree", ylim=(0, None))
    for axes in (fit, spread):
        axes.legend(frameon=False, fontsize=8)
    return figure


def target_figure(said: Consensus, target: Sequence[float], labels: Mapping[str, str], title: str) -> Figure:
    """The mean against the targets of the test part with its band, and how far off it is where the runs disagree."""
    figure, (fit, spread) = _panels(title)
    ends = [min(target), max(target)]
    fit.plot(ends, ends, color=ORANGE, linewidth=2, label="prediction = target")
    # errorbar wants the lengths to either side, not the ends.
    below = [mean - low for mean, low in zip(said.mean, said.low, strict=True)]
    above = [high - mean for mean, high in zip(said.mean, said.high, strict=True)]
    fit.errorbar(
        target,
        said.mean,
        yerr=[below, above],
        fmt="o",
        markersize=3,
        color=BLUE,
        ecolor=GRAY,
        elinewidth=0.8,
        label=f"mean of {said.n} runs, {said.share}",
    )
    fit.set(xlabel=f"target {labels['y']}", ylabel="prediction", title="Test part")
    off = [abs(mean - true) for mean, true in zip(said.mean, target, strict=True)]
    spread.scatter(said.std, off, s=12, color=BLUE, alpha=0.6, linewidths=0)
    spread.set(xlabel="standard deviation of the runs", ylabel="|prediction - target|", title="Where they disagree")
    fit.legend(frameon=False, fontsize=8)
    return figure


@dataclass(frozen=True, kw_only=True)
class Vote:
    """What several runs say of the class of the same samples."""

    classes: Sequence[str]
    said: Sequence[str]
    """By the mean of the runs' probabilities."""
    members: Sequence[Sequence[str]]
    """By each run alone."""
    truth: Sequence[str]

    @property
    def confusion(self) -> list[list[int]]:
        """Samples of each class (row) that all together take for each class (column)."""
        pairs = Counter(zip(self.truth, self.said, strict=True))
        return [[pairs[true, said] for said in self.classes] for true in self.classes]

    def right(self, said: Sequence[str]) -> list[float]:
        """The share that is said right, of all samples and of each class; not a number where it has none."""
        rights = [one == other for one, other in zip(said, self.truth, strict=True)]
        of_classes = [[r for r, true in zip(rights, self.truth, strict=True) if true == c] for c in self.classes]
        return [sum(found) / len(found) if found else nan for found in (rights, *of_classes)]


def class_figure(vote: Vote, title: str) -> Figure:
    """What the runs together take for what on the test part, and how often each alone is right beside that."""
    figure, (confusion, rights) = _panels(title)
    draw_confusion(confusion, vote.confusion, vote.classes, f"Confusion of {len(vote.truth)} test samples")
    # One place for all samples together, and one for each class.
    alone, places = [vote.right(each) for each in vote.members], range(len(vote.classes) + 1)
    # Each tuple is what the runs reach at one place; a class without samples is nan in all, and is not drawn.
    middle = [sum(each) / len(each) for each in zip(*alone, strict=True)]
    lowest, highest = (list(map(end, zip(*alone, strict=True))) for end in (min, max))
    down, up = ([abs(a - b) for a, b in zip(middle, ends, strict=True)] for ends in (lowest, highest))
    each = f"{len(vote.members)} runs alone, mean and range"
    rights.errorbar(middle, places, xerr=[down, up], fmt="o", markersize=4, color=GRAY, capsize=3, label=each)
    rights.plot(vote.right(vote.said), places, "D", markersize=5, color=BLUE, label="together")
    rights.set(xlabel="share that is right", title="Together and each alone", xlim=(None, 1.02))
    if len(vote.classes) <= MOST_NAMES:
        rights.set_yticks(places, ["all", *vote.classes])
    rights.set_ylim(len(vote.classes) + 0.5, -1.2)  # the legend has the room above the first
    rights.legend(frameon=False, fontsize=8, loc="upper left", ncols=2)
    return figure


def _panels(title: str) -> tuple[Figure, tuple[Axes, Axes]]:
    figure = Figure(figsize=(9, 3.8), layout=ConstrainedLayoutEngine(w_pad=0.1))
    figure.suptitle(title, fontsize=10)
    left, right = figure.subplots(1, 2)
    return figure, (left, right)
