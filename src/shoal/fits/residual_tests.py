"""Whether residuals look as those of a formula that misses nothing."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor

_FEW = 20
"""The tests count on more residuals than this."""


def signs(residuals: Float[Tensor, " samples"]) -> float | None:
    """The runs test of Wald and Wolfowitz (1940): the probability of so few or so many changes of sign by chance."""
    above_zero = residuals > 0
    above, n = int(above_zero.sum()), len(above_zero)
    below = n - above
    if n <= _FEW or above < 2 or below < 2:
        return None
    # A run begins wherever the sign changes.
    runs = 1 + int((above_zero[1:] != above_zero[:-1]).sum())
    mean = 1 + 2 * above * below / n
    variance = (mean - 1) * (mean - 2) / (n - 1)
    return math.erfc(abs(runs - mean) / math.sqrt(2 * variance)) if variance > 0 else None


def normality(residuals: Float[Tensor, " samples"]) -> float | None:
    """The test of D'Agostino and Pearson (1973): the probability of so large a skewness and kurtosis by chance."""
    n = len(residuals)
    centered = residuals - residuals.mean()
    second = float(centered.square().mean())
    if n <= _FEW or not second > 0:
        return None
    skewness = float(centered.pow(3).mean()) / second**1.5
    kurtosis = float(centered.pow(4).mean()) / second**2
    # Chi-square of two degrees of freedom, whose tail is exp(-x / 2).
    return math.exp(-(_of_skewness(skewness, n) ** 2 + _of_kurtosis(kurtosis, n) ** 2) / 2)


def _of_skewness(skewness: float, n: int) -> float:
    """The skewness as a score that is normally distributed where the residuals are (D'Agostino, 1970)."""
    y = skewness * math.sqrt((n + 1) * (n + 3) / (6 * (n - 2)))
    beta = 3 * (n * n + 27 * n - 70) * (n + 1) * (n + 3) / ((n - 2) * (n + 5) * (n + 7) * (n + 9))
    w2 = math.sqrt(2 * (beta - 1)) - 1
    return math.asinh(y / math.sqrt(2 / (w2 - 1))) / math.sqrt(math.log(w2) / 2)


def _of_kurtosis(kurtosis: float, n: int) -> float:
    """The kurtosis as such a score (Anscombe & Glynn, 1983)."""
    mean = 3 * (n - 1) / (n + 1)
    variance = 24 * n * (n - 2) * (n - 3) / ((n + 1) ** 2 * (n + 3) * (n + 5))
    x = (kurtosis - mean) / math.sqrt(variance)
    beta = 6 * (n * n - 5 * n + 2) / ((n + 7) * (n + 9)) * math.sqrt(6 * (n + 3) * (n + 5) / (n * (n - 2) * (n - 3)))
    a = 6 + 8 / beta * (2 / beta + math.sqrt(1 + 4 / beta**2))
    part = (1 - 2 / a) / (1 + x * math.sqrt(2 / (a - 4)))
    root = math.copysign(abs(part) ** (1 / 3), part)
    return (1 - 2 / (9 * a) - root) / math.sqrt(2 / (9 * a))
