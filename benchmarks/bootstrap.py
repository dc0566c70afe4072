"""1,000 bootstrap fits of formulas with three parameters: shoal's stack beside a loop over scipy's curve_fit.

`python benchmarks/bootstrap.py` prints the table of docs/fits.md. Both fit the same resampled tables from the same
start to the same tolerances, on one thread; scipy gets the formula in NumPy. Needs scipy, of the extra `benchmark`.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from scipy.optimize import curve_fit

from shoal.engines.stack.allocator import keep_memory
from shoal.expressions import parse
from shoal.fits.bootstrap import COST, STEP, resampled, solution
from shoal.models import Formulas
from shoal.tasks.formula_problem import FormulaProblem

SAMPLES = 1000
ROUNDS = 5


@dataclass(frozen=True)
class Model:
    """A formula with three parameters, and data that it made."""

    name: str
    formula: str
    function: Callable[..., Any]
    values: tuple[float, float, float]
    x: Any
    noise: float


MODELS = (
    Model(
        "decay, 40 samples",
        "a*exp(-b*x)+c",
        lambda x, a, b, c: a * numpy.exp(-b * x) + c,
        (5.0, 0.8, 1.0),
        numpy.linspace(0, 6, 40),
        0.1,
    ),
    Model(
        "peak, 60 samples",
        "a*exp(-((x-b)/c)**2)",
        lambda x, a, b, c: a * numpy.exp(-(((x - b) / c) ** 2)),
        (4.0, 2.0, 0.7),
        numpy.linspace(0, 4, 60),
        0.1,
    ),
    Model(
        "growth, 15 samples",
        "a/(1+exp(b-c*x))",
        lambda x, a, b, c: a / (1 + numpy.exp(b - c * x)),
        (70.0, 2.5, 0.07),
        numpy.linspace(5, 80, 15),
        1.0,
    ),
)


def main() -> None:
    """Print the table: CPU seconds, how many times faster, and by how much the fits differ."""
    torch.set_num_threads(1)
    keep_memory()
    warnings.simplefilter("ignore")
    print("| formula | scipy, s | shoal, s | times | largest difference, in standard errors |\n|---|---|---|---|---|")
    for model in MODELS:
        print(_row(model))


def _row(model: Model) -> str:
    problem, start, weights = _resampled(model)
    rounds = []
    for _ in range(ROUNDS):  # side by side, so that both meet the machine in the same state
        by_scipy, of_scipy = _timed(lambda: _by_scipy(model, weights, start))
        (by_shoal, ended), of_shoal = _timed(lambda: solution(problem, start.repeat(SAMPLES, 1)))
        rounds.append((of_scipy / of_shoal, of_scipy, of_shoal))
    times, of_scipy, of_shoal = (statistics.median(each) for each in zip(*rounds, strict=True))
    good = torch.from_numpy(numpy.isfinite(by_scipy).all(1)) & ended
    off = (by_shoal - torch.from_numpy(by_scipy))[good].abs().amax(0) / by_shoal[good].std(0)
    return f"| {model.name} | {of_scipy:.2f} | {of_shoal:.3f} | {times:.1f} | {float(off.max()):.1e} |"


def _resampled(model: Model) -> tuple[FormulaProblem, torch.Tensor, Any]:
    """Rows drawn with replacement as weights, for both; and the fit of the whole table, where they begin."""
    y = model.function(model.x, *model.values) + model.noise * numpy.random.default_rng(0).normal(size=len(model.x))
    found, _ = curve_fit(model.function, model.x, y, p0=model.values, xtol=1e-12, ftol=1e-15)
    start = torch.from_numpy(found)
    whole = FormulaProblem.of(
        Formulas((parse(model.formula, variables=("x", "a", "b", "c")),)),
        ("a", "b", "c"),
        {"x": torch.from_numpy(model.x)[None]},
        torch.from_numpy(y)[None, :, None],
    )
    n = len(model.x)
    drawn = torch.Generator().manual_seed(0)
    problem = resampled(whole, start, samples=SAMPLES, resampling="cases", generator=drawn)
    return problem, start, (problem.root[:, :n].numpy(), y)


def _by_scipy(model: Model, weights: Any, start: torch.Tensor) -> Any:
    roots, y = weights
    found = numpy.full((SAMPLES, 3), numpy.nan)
    for i, root in enumerate(roots):
        kept = root > 0
        x, p0 = model.x[kept], start.numpy()
        try:
            found[i], _ = curve_fit(
                model.function, x, y[kept], p0=p0, sigma=1 / root[kept], xtol=STEP, ftol=COST, gtol=0.0
            )
        except RuntimeError:  # no end within its steps
            continue
    return found


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.process_time()
    found = work()
    return found, time.process_time() - began


if __name__ == "__main__":
    main()
