"""NIST's 27 nonlinear sets from both of their starts: to the certified values, at the defaults of `shoal fit`."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import yaml

from checkout import ROOT
from shoal.expressions import parse
from shoal.fits.covariance import covariance
from shoal.models import Formulas
from shoal.optimizers import LevenbergMarquardt
from shoal.optimizers.squares import Solution, Tolerances, solve
from shoal.optimizers.squares.levenberg import RUNNING
from shoal.tasks.formula_problem import FormulaProblem
from shoal.tasks.tables import Nist

FILES = sorted((ROOT / "experiments").glob("nist_*.yaml"))
DIGITS = 11
"""Of the certified values."""


def starts(text: str) -> list[dict[str, float]]:
    """The starts that a file sweeps over."""
    found = []
    for each in text.strip("{}").split("},{"):
        pairs = (item.split(":") for item in each.split(","))
        found.append({name: float(value) for name, value in pairs})
    return found


class Certified:
    """One set, as its experiment has it."""

    def __init__(self, file: Path) -> None:
        content = yaml.safe_load(file.read_text())
        self.name = content["task"]["dataset"]
        swept = content.get("hydra")
        self.starts = starts(swept["sweeper"]["params"]["model.start"]) if swept else [content["model"]["start"]]
        self.wanted = {each["metric"]: float(each["value"]) for each in content["expect"]}
        self.names = tuple(self.starts[0])
        frame = Nist(dataset=self.name).frame()
        columns = {name: torch.tensor(frame[name].to_list(), dtype=torch.float64)[None] for name in frame.columns}
        y = columns.pop("y")
        expression = parse(content["model"]["expression"], variables=(*columns, *self.names))
        self.problem = FormulaProblem.of(Formulas((expression,)), self.names, columns, y[..., None])
        self.n = y.shape[1]

    def solution(self, *which: int) -> Solution:
        """The fits from some of the starts, as one stack."""
        start = torch.tensor([list(self.starts[i].values()) for i in which], dtype=torch.float64)
        usual = LevenbergMarquardt()
        tolerances = (start.new_full((len(which),), each) for each in (usual.gradient, usual.step, usual.cost))
        damping, bent = usual.damping, usual.acceleration
        return solve(self.problem, start, Tolerances(*tolerances), damping=damping, acceleration=bent)

    def digits(self, found: Solution, row: int) -> tuple[float, float]:
        """Correct digits of the worst parameter, and of the worst standard error."""
        twice = found.params[[row, row]]
        point = self.problem.linearized(twice)
        matrix = covariance(point.jacobian[:, 0]).matrix
        variance = float(point.values.cost[0]) / (self.n - len(self.names))
        errors = (matrix.diagonal() * variance).sqrt().tolist()
        values = found.params[row].tolist()
        return (
            min(digits(value, self.wanted[name]) for name, value in zip(self.names, values, strict=True)),
            min(
                digits(value, self.wanted[f"{name}/error"])
                for name, value in zip(self.names, errors, strict=True)
                if f"{name}/error" in self.wanted
            )
            if f"{self.names[0]}/error" in self.wanted
            else DIGITS,
        )


def digits(found: float, certified: float) -> float:
    """The log relative error: how many digits agree, at most those certified."""
    off = abs(found - certified) / abs(certified)
    return min(DIGITS, -math.log10(off)) if off else DIGITS


def test_all_54_fits_end_at_the_certified_values_and_standard_errors() -> None:
    short = {}
    for file in FILES:
        given = Certified(file)
        found = given.solution(0, 1)
        for row in (0, 1):
            value, error = given.digits(found, row)
            if value < 8 or error < 4 or found.stopped[row] == RUNNING:
                short[given.name, row + 1] = round(value), round(error)

    assert len(FILES) == 27
    # Its residuals are 1e-13 of its values: the last digits of the formula in float64 are a part of them.
    assert short.keys() <= {("Lanczos1", 1), ("Lanczos1", 2)}
    assert all(value >= 8 and error >= 2 for value, error in short.values())


@pytest.mark.parametrize("name", ["boxbod", "mgh09", "thurber"])
def test_a_fit_in_a_stack_has_the_bits_that_it_has_alone(name: str) -> None:
    given = Certified(ROOT / f"experiments/nist_{name}.yaml")

    both, other_way = given.solution(0, 1, 1, 0, 1), given.solution(1, 0)

    for row, start in ((0, 0), (1, 1), (3, 0), (4, 1)):
        alone = given.solution(start)
        assert torch.equal(both.params[row], alone.params[0])
        assert torch.equal(other_way.params[1 - start], alone.params[0])
        assert both.steps[row] == alone.steps[0]


LINEAR = {"Filip": (7.5, 7.5), "Longley": (9, 11), "Wampler1": (10, 11), "Wampler3": (9, 11), "Wampler4": (7.5, 11)}
"""Digits of values and errors where the columns are almost dependent; of Wampler5 the residuals are largest as well."""


@pytest.mark.parametrize("file", sorted((ROOT / "experiments").glob("strd_*.yaml")), ids=lambda file: file.stem)
def test_a_linear_set_ends_at_its_certified_values(file: Path) -> None:
    given = Certified(file)

    found = given.solution(0, 0)

    value, error = given.digits(found, 0)
    least = {"Wampler5": (5.5, 11), **LINEAR}.get(given.name, (11, 11))
    assert value >= least[0]
    assert error >= least[1]
