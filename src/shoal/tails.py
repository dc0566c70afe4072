"""Quantiles and tail probabilities of Student's t and of F, by the incomplete beta function."""

from __future__ import annotations

import math
from statistics import NormalDist


def t_quantile(level: float, freedom: float) -> float:
    """The t that a variable of Student's distribution is within, on both sides of 0, with the probability `level`.

    With infinitely many degrees of freedom it is the normal distribution.
    """
    if math.isinf(freedom):
        return NormalDist().inv_cdf((1 + level) / 2)
    import mpmath

    low, high = 0.0, 1.0
    # The end doubled until the root lies before it: a solver that brackets then cannot miss it.
    while t_within(high, freedom) < level:
        low, high = high, 2 * high
    found = mpmath.findroot(lambda t: t_within(float(t), freedom) - level, (low, high), solver="anderson", tol=1e-15)
    return float(found)


def t_within(t: float, freedom: float) -> float:
    """The probability that a variable of Student's distribution is between -t and t."""
    # Abramowitz and Stegun, 26.5: P(|T| < t) = 1 - I_x(n/2, 1/2) with x = n / (n + t^2).
    return 1 - _beta(freedom / 2, 0.5, freedom / (freedom + t * t))


def f_beyond(f: float, first: int, second: int) -> float:
    """The probability that a variable of the F distribution with these degrees of freedom is above `f`."""
    if math.isinf(f):
        return 0.0
    # P(F > f) = I_x(m/2, k/2) with x = m / (m + k f), for k and m degrees of freedom.
    return _beta(second / 2, first / 2, second / (second + first * f))


def chi2_beyond(chi2: float, freedom: int) -> float:
    """The probability that a variable of the chi-square distribution is above `chi2`."""
    import mpmath

    return float(mpmath.gammainc(freedom / 2, chi2 / 2, regularized=True))


def _beta(a: float, b: float, x: float) -> float:
    import mpmath

    return float(mpmath.betainc(a, b, 0, x, regularized=True))
