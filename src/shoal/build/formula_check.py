"""A formula that is to be fitted: its table as it is, its start finite, its derivatives right."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from shoal.engines.job import Job
from shoal.errors import ConfigError, brief
from shoal.expressions import parse
from shoal.gradcheck import Derivative, points
from shoal.gradcheck.derivatives import TOLERANCE
from shoal.gradcheck.differentiated import Differentiated
from shoal.gradcheck.three_ways import Along, compared
from shoal.losses import Likelihood
from shoal.models import Formula, FormulaNetwork, Model
from shoal.tasks import Task
from shoal.tasks.residuals import problem_of
from shoal.tasks.supervised import Supervised

_PLACES = 3
"""Samples at which the derivatives are checked."""
_OFF = 1e-3
"""Share of itself that a derivative may be off by."""
_STEP, _OFF_OF_CODE, _SEEN_OF_CODE = 1e-4, 1e-2, 1e-9
"""The same of a function, by steps of that share of a parameter: what it solves, it does to a tolerance."""
_SEEN = 1e-6
"""What a parameter changes is seen in finite differences from this share of the value on."""


def fitted(task: Task, model: Model) -> Task:
    """The task as a formula is fitted to it; any other model has it as it is."""
    return task.of_formula(model.names, model.by, model.defined) if isinstance(model, Formula) else task


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
    if isinstance(job.loss, Likelihood):
        if job.model.bootstrap and job.model.resampling == "residuals":
            problem = "is for residuals that may change places, and those of counts have each another size"
            raise ConfigError("model.resampling", "residuals", problem, hint="model.resampling=parametric or cases")
        _check_means(job.model, module.model, job.loss, x, job.data.train.y)
    if job.model.code is not None:
        _check_code(job.model, module.model, x)
        return
    # The first, the middle and the last row.
    places = torch.linspace(0, len(x) - 1, min(_PLACES, len(x))).long()
    columns = x[places][:, list(module.model.places.values())]
    for formula in job.model.formulas:
        _check_derivatives(formula, module.model.inputs, tuple(job.model.start.items()), columns)


def _check_start(model: Formula, network: FormulaNetwork, x: Tensor) -> None:
    with torch.no_grad():
        found = network(x)
    columns = x[:, list(network.places.values())]
    bad = (~found.isfinite().all(1)).nonzero()
    if len(bad):
        row = int(bad[0])
        values = found[:, int((~found[row].isfinite()).nonzero()[0])]
        there = zip(network.inputs, columns[row].tolist(), strict=True)
        place = ", ".join(f"{name}={value:g}" for name, value in there)
        at = f" at {place}" if place else ""
        problem = f"the formula is {values[row].item()} there{at}, and in {len(bad)} of {len(x)} rows"
        raise ConfigError("model.start", dict(model.start), problem, hint=f"start where {model.text} is finite")


def _check_means(model: Formula, network: FormulaNetwork, loss: Likelihood, x: Tensor, y: Tensor) -> None:
    """Refuse a start at which a likelihood has no place for what the formula gives."""
    low, high = loss.targets
    if ((y < low) | (y > high)).any():  # which is told beside the other things that a loss is not for
        return
    with torch.no_grad():
        found = network(x)
    bad = ((found <= low) | (found >= high)).nonzero()
    if len(bad):
        row, target = bad[0].tolist()
        limits = f"between {low:g} and {high:g}" if high < torch.inf else f"above {low:g}"
        problem = f"the formula is {float(found[row, target]):g} in row {row + 1}, and must be {limits} for this loss"
        raise ConfigError("model.start", dict(model.start), problem, hint="start elsewhere, or fit exp(...) of it")


def _check_code(model: Formula, network: FormulaNetwork, x: Tensor) -> None:
    """Refuse a function whose derivatives are not those that its values have."""
    trained = {name: value.detach() for name, value in network.values().items() if name in network.trained}
    fixed = {name: each[None] for name, each in network.named_buffers()}
    # Targets do not matter to values and slopes.
    y = torch.zeros(1, len(x), network.curves.outputs, dtype=x.dtype)
    problem = problem_of(network, None, (x[None], y), trained, fixed, together=True)
    params = torch.cat([value.reshape(-1) for value in trained.values()])
    try:
        slopes = problem.real(problem.slopes(params[None])[:, 0])
    except RuntimeError as error:
        hint = "change no tensor in place: make new ones, as by torch.stack of a list"
        raise ConfigError("model.code", model.text, f"has no derivative: {brief(error)}", hint=hint) from error
    for i, label in enumerate(network.labels):
        step = _STEP * (abs(float(params[i])) or 1.0)
        ends = params.repeat(2, 1)
        # Two rows, one to each side: both are computed at once.
        ends[:, i] += params.new_tensor([-step, step])
        low, high = problem.real(problem.predictions(ends))
        differences = (high - low) / (2 * step)
        off, size = (slopes[i] - differences).abs(), differences.abs().maximum(slopes[i].abs())
        # Off by more than a hundredth, and by more than what the function's own tolerance can make of it.
        wrong = (off > _OFF_OF_CODE * size.max()) & (off * step > _SEEN_OF_CODE * (high.abs() + low.abs()))
        if wrong.any():
            place = int(off.argmax())
            found = f"{slopes[i, place]:.6g} by autograd, {differences[place]:.6g} by finite differences"
            told = f"d/d{label} of the value {place + 1} at the start is {found}"
            raise ConfigError("model.code", model.text, told, hint="compute with tensors of torch from end to end")


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


# The jobs of a sweep ask for the same again and again.
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
            analytic=None,
            tolerance=TOLERANCE,
        )
        for name, _ in start
    ]
    return formula(**point).item(), derivatives
