"""Least squares over a stack of runs: every operation treats the rows alike and apart, in float64.

A number of a row depends neither on how many rows there are nor on what stands in them: what is not exact to the last
bit, as a function or a sum, is computed over whole rows of samples, whose number is padded.
"""

from shoal.optimizers.squares.apart import columns_of_runs, rows_of_fits
from shoal.optimizers.squares.levenberg import Damping, Tolerances, Tried, tried
from shoal.optimizers.squares.problem import Linearized, Problem
from shoal.optimizers.squares.solution import Solution, solve

__all__ = [
    "Damping",
    "Linearized",
    "Problem",
    "Solution",
    "Tolerances",
    "Tried",
    "columns_of_runs",
    "rows_of_fits",
    "solve",
    "tried",
]
