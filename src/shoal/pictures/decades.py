"""Logarithmic axes: which ticks they have, and how powers of ten are written."""

from __future__ import annotations

import math
import re
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import LogFormatterSciNotation, LogLocator

MANY = 3
"""Decades from which on an axis has no ticks between its powers of ten."""
_POWER = re.compile(r"10\^\{(-?\d+)\}")
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def logarithmic(axes: Axes) -> None:
    """Make the scale of the heights logarithmic."""
    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(_Between(subs="auto"))
    axes.yaxis.set_major_formatter(_PowersOfTen())
    axes.yaxis.set_minor_formatter(_PowersOfTen())


class _Between(LogLocator):
    """Ticks between powers of ten, where there are few of these.

    Each is laid out as a text, though an empty one: eight a decade took half of the time of a figure.
    """

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """Where they are on an axis from `vmin` to `vmax`."""
        return [] if vmin > 0 and math.log10(vmax / vmin) >= MANY else super().tick_values(vmin, vmax)


class _PowersOfTen(LogFormatterSciNotation):
    """Labels as matplotlib chooses them, in plain characters, 10⁻⁵: its language of formulas takes long to begin."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The label of a tick at `x`, empty where it has none."""
        text = (
            super()
            .__call__(x, pos)
            .removeprefix(r"$\mathdefault{")
            .removesuffix("}$")
            .replace(r"\times", "\N{MULTIPLICATION SIGN}")
        )
        return _POWER.sub(lambda power: "10" + power[1].translate(_RAISED), text)
