"""Logarithmic axes say as much as matplotlib's own, with less to lay out."""

from __future__ import annotations

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shoal.pictures.decades import logarithmic


def axes_from(low: float, high: float) -> Axes:
    axes = Figure().subplots()
    axes.set_ylim(low, high)
    logarithmic(axes)
    return axes


@pytest.mark.parametrize(("high", "between"), [(99.0, True), (1e3, False), (1e9, False)])
def test_ticks_stand_between_the_powers_of_ten_of_fewer_than_three_decades(high: float, between: bool) -> None:
    axes = axes_from(1, high)

    found = axes.yaxis.get_minorticklocs()

    assert (len(found) > 0) == between


def test_ticks_follow_limits_that_are_set_later() -> None:
    axes = axes_from(1, 1e6)

    axes.set_ylim(1, 50)

    assert 20 in axes.yaxis.get_minorticklocs()


@pytest.mark.parametrize(("low", "high"), [(1e-12, 1e3), (2e-5, 7e-5), (0.3, 40), (1.0, 1e15)])
def test_labels_say_in_characters_what_matplotlib_says_in_formulas(low: float, high: float) -> None:
    ours, theirs = axes_from(low, high), Figure().subplots()
    theirs.set_ylim(low, high)
    theirs.set_yscale("log")

    for axes in (ours, theirs):
        axes.get_figure().canvas.draw()
    labels, formulas = (
        [each.get_text() for each in [*axes.get_yticklabels(), *axes.get_yticklabels(minor=True)]]
        for axes in (ours, theirs)
    )

    # Above three decades the ticks between have no labels.
    assert [text for text in labels if text] == [_in_characters(text) for text in formulas if text]
    assert any(labels)


def _in_characters(formula: str) -> str:
    raised = dict(zip("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹", strict=True))
    mantissa, power = formula.removeprefix(r"$\mathdefault{").removesuffix("}}$").split("10^{")
    return mantissa.replace(r"\times", "\N{MULTIPLICATION SIGN}") + "10" + "".join(raised[each] for each in power)
