"""Fits of formulas, by what is recorded of them."""

from __future__ import annotations

from typing import Any

import shoal

MISRA1A = """x,y
77.6,10.07
114.9,14.73
141.1,17.94
190.8,23.93
239.9,29.61
289.0,35.18
332.8,40.02
378.4,44.82
434.8,50.76
477.3,55.05
536.8,61.01
593.1,66.40
689.1,75.47
760.0,81.78
"""
"""Of NIST's Statistical Reference Datasets, with the certified values below."""
CERTIFIED = {"b1": (2.3894212918e02, 2.7070075241e00), "b2": (5.5015643181e-04, 7.2668688436e-06)}
WORDS = ["task=csv", "task.path=t.csv", "task.target=y", "model=formula", "optimizer=lm", "logger=none"]
WORDS += ["callbacks.progress=null", "model.expression=b1*(1-exp(-b2*x))"]
START = "model.start={b1:500,b2:1e-4}"


def fit_of(*words: str) -> dict[str, Any]:
    """What run.json says of the fit that these words train."""
    found = shoal.train([*words]).info.fit
    assert found is not None
    return found


def fitted(*words: str) -> dict[str, Any]:
    """What run.json says of the fit of a curve to NIST's set Misra1a, or to another table in t.csv."""
    return fit_of(*WORDS, *words)
