"""Whether settings differ by more than chance: paired tests against the best, corrected for their number."""

from __future__ import annotations

import math
from collections.abc import Sequence

from shoal.review.spread import over

LEVEL = 0.05
"""How often all settings together may be called different where none is."""


def paired(differences: Sequence[float], *, folds: int = 1) -> float | None:
    """The p-value of two settings having the same mean, given their differences in each seed and fold; None below two.

    Student's t-test for pairs (Student, 1908), of two sides. Over `folds` of a cross-validation the runs have training
    samples in common, so that their spread is too small: the variance of the mean is n_test / n_train = 1 / (folds - 1)
    of the variance larger (Nadeau and Bengio, 2003; for folds repeated over seeds Bouckaert and Frank, 2004).
    """
    n = len(differences)
    if n < 2:
        return None
    spread = over(differences)
    overlap = 1 / (folds - 1) if folds > 1 else 0.0
    error = spread.std * math.sqrt(1 / n + overlap)
    # The same in every repetition: either the very same results, or a difference that no chance explains.
    if error == 0:
        return 1.0 if spread.mean == 0 else 0.0
    return student(spread.mean / error, n - 1)


def student(t: float, freedom: int) -> float:
    """The probability of a value of Student's t at least as far from 0.

    By the finite series for whole degrees of freedom (Abramowitz and Stegun, 1964, 26.7.3 and 26.7.4).
    """
    angle = math.atan(abs(t) / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    # Odd: 2/pi (a + sin a (cos a + 2/3 cos^3 a + ...)); even: sin a (1 + 1/2 cos^2 a + ...).
    term = total = cosine if odd else 1.0
    for k in range(1 + odd, freedom - 2, 2):
        term *= cosine**2 * k / (k + 1)
        total += term
    within = 2 / math.pi * (angle + (sine * total if freedom > 1 else 0.0)) if odd else sine * total
    return min(1.0, max(0.0, 1 - within))


def holm(values: Sequence[float | None]) -> list[float | None]:
    """The p-values, corrected for their number (Holm, 1979); None stays for what was not tested."""
    known = sorted((value, place) for place, value in enumerate(values) if value is not None)
    found: list[float | None] = [None] * len(values)
    largest = 0.0
    for rank, (value, place) in enumerate(known):
        # Never below one that is smaller: the order of the settings stays.
        largest = max(largest, min(1.0, (len(known) - rank) * value))
        found[place] = largest
    return found
