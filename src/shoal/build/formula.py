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
_OFF = 1e-3
"""Share of itself that a derivative may be off by."""
_SEEN = 1e-6
"""What a parameter changes is seen in finite differences from this share of the value on."""


def fitted(task: Task, model: Model) -> Task:
    """The task as a formula is fitted to it; any other model has it as it is."""
    return task.of_formula(model.names, model.by) if isinstance(model, Formula) else task


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
    columns = x[:, list(module.model.places.values())]
    _check_derivatives(job.model.expression, module.model.inputs, tuple(job.model.start.items()), columns[places])


def _check_start(model: Formula, network: FormulaNetwork, x: Tensor) -> None:
    with torch.no_grad():
        values = network(x)[:, 0]
    columns = x[:, list(network.places.values())]
    bad = (~values.isfinite()).nonzero()
    if len(bad):
        row = int(bad[0])
        there = zip(network.inputs, columns[row].tolist(), strict=True)
        place = ", ".join(f"{name}={value:g}" for name, value in there)
        at = f" at {place}" if place else ""
        problem = f"the formula is {values[row].item()} there{at}, and in {len(bad)} of {len(x)} rows"
        raise ConfigError("model.start", dict(model.start), problem, hint=f"start where {model.expression} is finite")


def _check_derivatives(text: str, inputs: tuple[str, ...], start: tuple[tuple[str, float], ...], x: Tensor) -> None:
    for place in x.double().tolist():
        value, derivatives = _derivatives(text, inputs, start, tuple(place))
        for (name, at), found in zip(start, derivatives, strict=True):
            if _is_wrong(found, value, at):
                slopes = f"{found.autograd:.6g} by autograd, {found.differences:.6g} by finite differences"
                problem = f"d/d{name} at {found.at} is {slopes}"
                raise ConfigError("model.expression", text, problem, hint="start elsewhere, or write the formula anew")


def _is_wrong(found: Derivative, value: float, at: float) -> bool:
    """Whether a derivative is off by more than differences of such values can be; a kink is no fault."""
    if found.agrees or found.kink is not None:
        return False
    off = abs(found.autograd - found.differences)
    size = max(abs(found.autograd), abs(found.differences))
    return off > _OFF * size and off * (abs(at) or 1.0) > _SEEN * abs(value)


@lru_cache(maxsize=1024)
def _derivatives(
    text: str, inputs: tuple[str, ...], start: tuple[tuple[str, float], ...], place: tuple[float, ...]
) -> tuple[float, list[Derivative]]:
    """The value there, and its derivative by each parameter, by autograd and by finite differences."""
    formula = parse(text, variables=(*inputs, *(name for name, _ in start)))
    function = Differentiated(text, formula.variables, formula, formula)
    values = dict([*zip(inputs, place, strict=True), *start])
    point = {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
    derivatives = [
        compared(
            label=f"d/d{name}",
            at=points.shown(point),
            along=Along(function, point, (name,), 0),
            exact=lambda _: None,
            tolerance=TOLERANCE,
            given=False,
        )
        for name, _ in start
    ]
    return formula(**point).item(), derivatives
