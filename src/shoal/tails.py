"""Quantiles and tail probabilities of Student's t and of F, by the incomplete beta function, and of chi-square."""

from __future__ import annotations

import math
from itertools import count
from statistics import NormalDist

_MOST = 100
"""Newton's steps to a quantile: about one for each doubling from the normal distribution's."""
_TINY = 1e-300


def t_quantile(level: float, freedom: float) -> float:
    """The t that a variable of Student's distribution is within, on both sides of 0, with the probability `level`.

    With infinitely many degrees of freedom it is the normal distribution.
    """
    t = NormalDist().inv_cdf((1 + level) / 2)
    if math.isinf(freedom):
        return t
    # The probability bends downwards: from below, Newton's steps come nearer and never beyond.
    for _ in range(_MOST):
        step = (level - t_within(t, freedom)) / _density(t, freedom)
        if not step > 1e-15 * t:
            break
        t += step
    return t


def t_within(t: float, freedom: float) -> float:
    """The probability that a variable of Student's distribution is between -t and t."""
    # Abramowitz and Stegun, 26.5: P(|T| < t) = I_x(1/2, n/2) with x = t^2 / (n + t^2).
    whole = freedom + t * t
    return _beta(0.5, freedom / 2, t * t / whole, freedom / whole)


def f_beyond(f: float, first: int, second: int) -> float:
    """The probability that a variable of the F distribution with these degrees of freedom is above `f`."""
    if math.isinf(f):
        return 0.0
    # P(F > f) = I_x(m/2, k/2) with x = m / (m + k f), for k and m degrees of freedom.
    whole = second + first * f
    return _beta(second / 2, first / 2, second / whole, first * f / whole)


def chi2_beyond(chi2: float, freedom: int) -> float:
    """The probability that a variable of the chi-square distribution is above `chi2`."""
    import mpmath

    return float(mpmath.gammainc(freedom / 2, chi2 / 2, regularized=True))


def _density(t: float, freedom: float) -> float:
    """How fast `t_within` grows."""
    logs = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - (freedom + 1) / 2 * math.log1p(t * t / freedom)
    return 2 * math.exp(logs) / math.sqrt(math.pi * freedom)


def _beta(a: float, b: float, x: float, rest: float) -> float:
    """The regularized incomplete beta function at `x`, which is 1 without the `rest`, by its continued fraction.

    That is DLMF, 8.17.22. Not by mpmath, whose import takes longer than all that a fit says.
    """
    if x <= 0 or rest <= 0:
        return float(rest <= 0)
    # On the other side the fraction comes to its end slowly.
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(b, a, rest, x)
    logs = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest)
    # Lentz's method, as Thompson and Barnett (1986) changed it.
    value, above, below = 1.0, 1.0, 0.0
    for i in count(1):
        m = i // 2
        part = -(a + m) * (a + b + m) / (a + 2 * m + 1) if i % 2 else m * (b - m) / (a + 2 * m - 1)
        part *= x / (a + 2 * m)
        below = 1 / (1 + part * below or _TINY)
        above = 1 + part / above or _TINY
        value *= above * below
        if abs(above * below - 1) < 1e-16:
            break
    return math.exp(logs) / (a * value)
