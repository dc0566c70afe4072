"""A formula that is to be fitted: its table as it is, its start finite, its derivatives right."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from shoal.engines.job import Job
from shoal.errors import ConfigError
from shoal.expressions import parse
from shoal.gradcheck import Derivative, points
from shoal.gradcheck.derivatives import TOLERANCE
from shoal.gradcheck.differentiated import Differentiated
from shoal.gradcheck.three_ways import Along, compared
from shoal.models import Formula, FormulaNetwork, Model
from shoal.tasks import Task
from shoal.tasks.supervised import Supervised

_PLACES = 3
"""Samples at which the derivatives are checked."""


def fitted(task: Task, model: Model) -> Task:
    """The task as a formula is fitted to it; any other model has it as it is."""
    return task.of_formula(model.names) if isinstance(model, Formula) else task


def check_formula(job: Job) -> None:
    """Refuse a formula that is not finite at the start, or whose derivative by a parameter is not what it should be.

    Raises:
        ConfigError: with the row, or with the parameter.
    """
    if not isinstance(job.model, Formula):
        return
    module = job.module_to_stack()
    assert isinstance(module, Supervised)
    assert isinstance(module.model, FormulaNetwork)
    x = job.data.train.x.to(next(module.parameters()).dtype)
    _check_start(job.model, module.model, x)
    places = torch.linspace(0, len(x) - 1, min(_PLACES, len(x))).long()
    _check_derivatives(job.model.expression, tuple(module.model.inputs), tuple(job.model.start.items()), x[places])


def _check_start(model: Formula, network: FormulaNetwork, x: Tensor) -> None:
    with torch.no_grad():
        values = network(x)[:, 0]
    bad = (~values.isfinite()).nonzero()
    if len(bad):
        row = int(bad[0])
        place = ", ".join(f"{name}={value:g}" for name, value in zip(network.inputs, x[row].tolist(), strict=True))
        at = f" at {place}" if place else ""
        problem = f"the formula is {values[row].item()} there{at}, and in {len(bad)} of {len(x)} rows"
        raise ConfigError("model.start", dict(model.start), problem, hint=f"start where {model.expression} is finite")


def _check_derivatives(text: str, inputs: tuple[str, ...], start: tuple[tuple[str, float], ...], x: Tensor) -> None:
    for place in x.double().tolist():
        for name, found in _derivatives(text, inputs, start, tuple(place)):
            if not found.agrees and found.kink is None:
                slopes = f"{found.autograd:.6g} by autograd, {found.differences:.6g} by finite differences"
                problem = f"d/d{name} at {found.at} is {slopes}"
                raise ConfigError("model.expression", text, problem, hint="start elsewhere, or write the formula anew")


@lru_cache(maxsize=1024)
def _derivatives(
    text: str, inputs: tuple[str, ...], start: tuple[tuple[str, float], ...], place: tuple[float, ...]
) -> list[tuple[str, Derivative]]:
    """The derivative by each parameter there, by autograd and by finite differences."""
    formula = parse(text, variables=(*inputs, *(name for name, _ in start)))
    function = Differentiated(text, formula.variables, formula, formula)
    values = dict([*zip(inputs, place, strict=True), *start])
    point = {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
    return [
        (
            name,
            compared(
                label=f"d/d{name}",
                at=points.shown(point),
                along=Along(function, point, (name,), 0),
                exact=lambda _: None,
                tolerance=TOLERANCE,
                given=False,
            ),
        )
        for name, _ in start
    ]
