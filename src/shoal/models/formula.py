"""The model that is a formula: its names are the inputs, or else parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Interval
from jaxtyping import Float
from torch import Tensor, nn

from shoal.errors import ConfigError, nearest, suggestion
from shoal.expressions import Expression, names_in, parse
from shoal.models.model import Model

Bounds = tuple[float | None, float | None]


@dataclass(frozen=True, kw_only=True)
class Formula(Model):
    """A formula of columns and parameters, as `b1*(1-exp(-b2*x))`; the parameters are what is trained."""

    expression: str
    """The formula, or several with names, of which the last counts: `k=b1/x; b2*exp(-k)`."""
    start: Mapping[str, float]
    """Value of each parameter before the first step: `{b1:500,b2:1e-4}`."""
    bounds: Mapping[str, Bounds] | None = None
    """The least and the greatest value of a parameter, null for none: `{b1:[0,null]}`."""
    fixed: tuple[str, ...] = ()
    """Parameters that keep the value they start with."""
    confidence: Annotated[float, Interval(gt=0, lt=1)] = 0.95
    """Level of the confidence intervals."""
    bootstrap: Annotated[int, Ge(0)] = 0
    """Fits of resampled data, all of them one stack, for errors and intervals of their own; 0 for none."""
    resampling: Literal["cases", "residuals", "parametric"] = "cases"
    """What is drawn anew for them: rows, residuals around the fit, or normal noise of their size."""

    def __post_init__(self) -> None:
        parse(self.expression, variables=self.names)
        for name in self.start:
            if name not in self.names:
                raise ConfigError("start", dict(self.start), f"{name!r} does not occur in {self.expression}")
        for key, given in (("bounds", self.bounds or {}), ("fixed", self.fixed)):
            for name in given:
                if name not in self.start:
                    hint = suggestion(name, self.start, kind="parameters")
                    raise ConfigError(key, getattr(self, key), f"{name!r} is no parameter", hint=hint)
        if not self.trained:
            hint = "leave one of them out of model.fixed" if self.start else "give one a start: model.start={a:1}"
            raise ConfigError("start", dict(self.start), "leaves no parameter to train", hint=hint)
        for name, interval in (self.bounds or {}).items():
            self._check_bounds(name, *interval)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names in the formula that are no functions, constants or formulas in it, in their order."""
        return names_in(self.expression)

    @property
    def trained(self) -> tuple[str, ...]:
        """The parameters that are fitted, in the order of their starts."""
        return tuple(name for name in self.start if name not in self.fixed)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names that must be inputs, having no start."""
        return tuple(name for name in self.names if name not in self.start)

    def interval(self, name: str) -> tuple[float, float]:
        """The bounds of a parameter, infinite where it has none."""
        low, high = (self.bounds or {}).get(name, (None, None))
        return -torch.inf if low is None else low, torch.inf if high is None else high

    def build(self, *, inputs: int, outputs: int, generator: torch.Generator) -> nn.Module:
        raise ConfigError("model", "formula", "needs the names of the inputs", hint="a task whose inputs have names")

    def reading(self, inputs: Callable[[], Sequence[str]]) -> Model:
        return OfInputs(self, tuple(inputs()))

    def _check_bounds(self, name: str, low: float | None, high: float | None) -> None:
        if low is not None and high is not None and not low < high:
            raise ConfigError("bounds", self.bounds, f"those of {name} must rise", hint=f"for example {{{name}:[0,1]}}")
        least, greatest = self.interval(name)
        if not least <= self.start[name] <= greatest:
            problem = f"{name} is outside its bounds, which are from {least:g} to {greatest:g}"
            raise ConfigError("start", dict(self.start), problem, hint="start within them, or widen model.bounds")


@dataclass(frozen=True)
class OfInputs(Model):
    """A formula whose inputs are known by name."""

    formula: Formula
    inputs: tuple[str, ...]

    def build(self, *, inputs: int, outputs: int, generator: torch.Generator) -> nn.Module:
        """The module, its parameters at their start.

        Raises:
            ConfigError: where a name is neither an input nor a parameter, or both; or the task has several outputs.
        """
        del inputs, generator
        if outputs != 1:
            raise ConfigError("model", "formula", f"gives one number, and the task wants {outputs}")
        for name in self.formula.columns:
            if name not in self.inputs:
                raise unknown(self.formula, name, self.inputs)
        for name in self.formula.start:
            if name in self.inputs:
                raise twice(self.formula, name)
        return FormulaNetwork(self.formula, self.inputs)


class FormulaNetwork(nn.Module):
    """A formula as a module from (batch, inputs) to (batch, 1). Its parameters are called as in the formula.

    A parameter that has left its bounds counts as the bound, and its gradient is that at the bound.
    """

    def __init__(self, formula: Formula, inputs: Sequence[str]) -> None:
        super().__init__()
        self.expression: Expression = parse(formula.expression, variables=(*inputs, *formula.start))
        self.inputs = tuple(inputs)
        self.names = tuple(formula.start)
        self.trained = formula.trained
        self.confidence = formula.confidence
        self.bootstrap = formula.bootstrap
        self.resampling = formula.resampling
        self.bounded = tuple(formula.bounds or ())
        for name, value in formula.start.items():
            start = torch.tensor(value)
            # Names of the user's: `register_parameter` would refuse one that a module has a method of.
            if name in self.trained:
                self._parameters[name] = nn.Parameter(start)
            else:
                self._buffers[name] = start
        for name in self.bounded:
            low, high = formula.interval(name)
            self.register_buffer(f"{name} bounds", torch.tensor([low, high]), persistent=False)

    def forward(self, x: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch 1"]:
        """The formula's value for each sample."""
        columns = dict(zip(self.inputs, x.unbind(1), strict=True))
        return self.expression(**columns, **self.values())[:, None]

    def values(self) -> dict[str, Tensor]:
        """Each parameter by its name, within its bounds."""
        return {name: self._within(name, self._parameters.get(name, self._buffers.get(name))) for name in self.names}

    def bounds(self, name: str) -> tuple[Tensor, Tensor] | None:
        """The least and the greatest value of a parameter, where it has bounds."""
        found = self._buffers.get(f"{name} bounds")
        return None if found is None else (found[0], found[1])

    def recorded(self) -> dict[str, Tensor]:
        """What is logged after each epoch: the parameters."""
        return self.values()

    def extra_repr(self) -> str:
        return str(self.expression)

    def _within(self, name: str, value: Tensor | None) -> Tensor:
        assert value is not None
        bounds = self.bounds(name)
        if bounds is None:
            return value
        return value.maximum(bounds[0]).minimum(bounds[1]).detach() + (value - value.detach())


def unknown(formula: Formula, name: str, inputs: Sequence[str]) -> ConfigError:
    """What to say of a name that is neither an input nor has a start."""
    guess = nearest(name, (*inputs, *formula.start))
    meant = f"did you mean {guess}? " if guess else ""
    hint = f"{meant}a parameter needs a start: model.start.{name}=1; columns: {', '.join(inputs) or 'none'}"
    return ConfigError(
        "model.expression", formula.expression, f"{name!r} is neither a column nor a parameter", hint=hint
    )


def twice(formula: Formula, name: str) -> ConfigError:
    """What to say of a name that is an input and a parameter."""
    hint = f"rename the parameter, or leave the column out: task.exclude=[{name}]"
    return ConfigError("model.start", dict(formula.start), f"{name!r} is a column too", hint=hint)
