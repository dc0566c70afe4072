"""NIST's 27 nonlinear sets, each from its two starts: correct digits by shoal, scipy's curve_fit and lmfit; the time.

`python benchmarks/nist.py` prints the table of docs/nist.md, and below it a fit of counts beside statsmodels. Needs the
extra `benchmark`.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lmfit
import numpy
import statsmodels.api as sm
import torch
import yaml
from scipy.optimize import curve_fit

from shoal.expressions import Expression, parse
from shoal.fits import covariance
from shoal.losses import Poisson
from shoal.models import Formulas
from shoal.optimizers import LevenbergMarquardt
from shoal.optimizers.squares import Tolerances, solve
from shoal.tasks.formula_problem import FormulaProblem
from shoal.tasks.tables import Nist

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
DIGITS = 11
"""Of the certified values."""
TIGHT = {"ftol": 1e-15, "xtol": 1e-15, "gtol": 1e-15}
PEERS: dict[str, dict[str, Any]] = {
    "lm": {"method": "lm"},
    "lm tight": {"method": "lm", "maxfev": 100_000, **TIGHT},
    "trf": {"method": "trf"},
    "trf tight": {"method": "trf", "max_nfev": 100_000, **TIGHT},
}


@dataclass(frozen=True)
class Certified:
    """A set: its formula, starts, data and certified values."""

    name: str
    names: tuple[str, ...]
    formula: Expression
    starts: list[list[float]]
    values: list[float]
    errors: list[float]
    columns: dict[str, Any]
    y: Any

    @classmethod
    def read(cls, file: Path) -> Certified:
        """The set of an experiment."""
        content = yaml.safe_load(file.read_text())
        name = content["task"]["dataset"]
        texts = content["hydra"]["sweeper"]["params"]["model.start"].strip("{}").split("},{")
        starts = [dict(item.split(":") for item in text.split(",")) for text in texts]
        names = tuple(starts[0])
        wanted = {each["metric"]: float(each["value"]) for each in content["expect"]}
        frame = Nist(dataset=name).frame()
        columns = {column: frame[column].to_torch() for column in frame.columns}
        y = columns.pop("y")
        return cls(
            name,
            names,
            parse(content["model"]["expression"], variables=(*columns, *names)),
            [[float(start[each]) for each in names] for start in starts],
            [wanted[each] for each in names],
            [wanted[f"{each}/error"] for each in names],
            columns,
            y,
        )

    def digits(self, values: list[float], errors: list[float]) -> tuple[float, float]:
        """Correct digits of the worst parameter and of the worst standard error."""
        return min(map(digits, values, self.values)), min(map(digits, errors, self.errors))


def digits(found: float, certified: float) -> float:
    """The log relative error, at most the digits that are certified, at least 0."""
    off = abs(found - certified) / abs(certified)
    return max(0.0, min(DIGITS, -math.log10(off))) if off else float(DIGITS)


def by_shoal(given: Certified) -> list[tuple[float, float]]:
    """Both starts as one stack, at the defaults of `shoal fit`."""
    columns = {name: column[None] for name, column in given.columns.items()}
    problem = FormulaProblem.of(Formulas((given.formula,)), given.names, columns, given.y[None, :, None])
    start, usual = torch.tensor(given.starts, dtype=torch.float64), LevenbergMarquardt()
    tolerances = (start.new_full((2,), each) for each in (usual.gradient, usual.step, usual.cost))
    found = solve(problem, start, Tolerances(*tolerances), damping=usual.damping, acceleration=usual.acceleration)
    results = []
    for row in (0, 1):
        point = problem.linearized(found.params[[row, row]])
        variance = float(point.values.cost[0]) / (len(given.y) - len(given.names))
        errors = (covariance(point.jacobian[:, 0]).matrix.diagonal() * variance).sqrt()
        results.append(given.digits(found.params[row].tolist(), errors.tolist()))
    return results


def curve(given: Certified, values: Iterable[float]) -> Any:
    """The formula's value at each sample, as scipy and lmfit ask for it."""
    arguments = {
        name: torch.tensor(value, dtype=torch.float64) for name, value in zip(given.names, values, strict=True)
    }
    return given.formula(**given.columns, **arguments).numpy()


def by_lmfit(given: Certified) -> list[tuple[float, float]]:
    """One start after the other, by its default, `leastsq`."""
    y, results = given.y.numpy(), []
    for start in given.starts:
        params = lmfit.Parameters()
        for name, value in zip(given.names, start, strict=True):
            params.add(name, value=value)

        def residuals(params: Any) -> Any:
            return curve(given, (params[name].value for name in given.names)) - y

        try:
            found = [lmfit.minimize(residuals, params).params[name] for name in given.names]
            values, errors = ([getattr(each, key) for each in found] for key in ("value", "stderr"))
            results.append(given.digits(values, [error or math.inf for error in errors]))
        except ValueError:  # nothing finite
            results.append((0.0, 0.0))
    return results


def by_scipy(given: Certified, **how: Any) -> list[tuple[float, float]]:
    """One start after the other."""
    y = given.y.numpy()

    def formula(_: Any, *values: float) -> Any:
        return curve(given, values)

    results = []
    for start in given.starts:
        try:
            values, matrix = curve_fit(formula, given.columns["x"].numpy(), y, p0=start, **how)
            results.append(given.digits(values.tolist(), numpy.sqrt(numpy.diag(matrix)).tolist()))
        except (RuntimeError, ValueError):  # no end within its steps, or nothing finite
            results.append((0.0, 0.0))
    return results


def counts_beside_statsmodels() -> float:
    """How far parameters and errors of `poisson_counts` are from those of statsmodels at most, as a share."""
    task = yaml.safe_load((EXPERIMENTS / "poisson_counts.yaml").read_text())["task"]
    x, y = (torch.tensor(task[name], dtype=torch.float64) for name in ("x", "y"))
    names = ("b0", "b1", "b2", "b3", "b4")
    columns = {f"x{i + 1}": column[None] for i, column in enumerate(x.T)}
    formula = parse("exp(b0+b1*x1+b2*x2+b3*x3+b4*x4)", variables=(*columns, *names))
    problem = FormulaProblem.of(Formulas((formula,)), names, columns, y[None, :, None], loss=Poisson())
    start, usual = torch.tensor([[3.0, 0, 0, 0, 0]] * 2, dtype=torch.float64), LevenbergMarquardt()
    tolerances = Tolerances(*(start.new_full((2,), each) for each in (usual.gradient, usual.step, usual.cost)))
    params = solve(problem, start, tolerances, damping=usual.damping).params
    errors = covariance(problem.linearized(params).jacobian[:, 0]).matrix.diagonal().sqrt()
    peer = sm.GLM(y.numpy(), sm.add_constant(x.numpy()), family=sm.families.Poisson()).fit(tol=1e-14, maxiter=100)
    mine, theirs = torch.cat([params[0], errors]), torch.from_numpy(numpy.concatenate([peer.params, peer.bse]))
    large = theirs.abs() > 1e-9  # two of the parameters are 0
    return float(((mine - theirs).abs() / theirs.abs())[large].max())


def main() -> None:
    """Print the table, and the counts below it."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    sets = [Certified.read(file) for file in sorted(EXPERIMENTS.glob("nist_*.yaml"))]
    ways: dict[str, Callable[[Certified], list[tuple[float, float]]]] = {"shoal": by_shoal}
    ways |= {f"scipy {name}": partial(by_scipy, **how) for name, how in PEERS.items()}
    ways["lmfit"] = by_lmfit
    found: dict[str, list[list[tuple[float, float]]]] = {}
    seconds = {}
    for name, way in ways.items():
        began = time.process_time()
        found[name] = [way(given) for given in sets]
        seconds[name] = time.process_time() - began
    print(f"| set | {' | '.join(ways)} |\n|---|{'---|' * len(ways)}")
    for i, given in enumerate(sets):
        cells = [" ".join(f"{value:.1f}" for value, _ in found[name][i]) for name in ways]
        print(f"| {given.name} | {' | '.join(cells)} |")
    for least in (4, 6, 8):
        counts = [sum(value >= least for pair in found[name] for value, _ in pair) for name in ways]
        print(f"| fits of 54 with {least} digits or more | {' | '.join(map(str, counts))} |")
    counts = [sum(error >= 4 for pair in found[name] for _, error in pair) for name in ways]
    print(f"| standard errors with 4 digits or more | {' | '.join(map(str, counts))} |")
    print(f"| CPU seconds | {' | '.join(f'{seconds[name]:.1f}' for name in ways)} |")
    print(
        f"\na fit of counts differs from that of statsmodels by {counts_beside_statsmodels():.0e} of a number at most"
    )


if __name__ == "__main__":
    main()
