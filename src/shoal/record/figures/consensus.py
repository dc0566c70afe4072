"""The figure of runs that predict together: their mean, and how far they disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from torch import Tensor

from shoal.record.figures.colors import BLUE, DARK, GRAY, ORANGE


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
    fit.scatter(
        *samples, s=min(40.0, max(5.0, 1500.0 / len(samples[0]))), color=GRAY, alpha=0.5, linewidths=0, label="data"
    )
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


def _panels(title: str) -> tuple[Figure, tuple[Axes, Axes]]:
    figure = Figure(figsize=(9, 3.8), layout=ConstrainedLayoutEngine(w_pad=0.1))
    figure.suptitle(title, fontsize=10)
    left, right = figure.subplots(1, 2)
    return figure, (left, right)
