"""The model that is a formula: its names are the inputs, or else parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Interval
from torch import nn

from shoal.errors import ConfigError, suggestion
from shoal.expressions import defined_in, names_in, parse
from shoal.models.model import Model

Bounds = tuple[float | None, float | None]


@dataclass(frozen=True, kw_only=True)
class Formula(Model):
    """A formula of columns and parameters, as `b1*(1-exp(-b2*x))`; the parameters are what is trained."""

    expression: str | tuple[str, ...] | None = None
    """The formula, or several with names, of which the last counts: `k=b1/x; b2*exp(-k)`. Of several targets a list
    with a formula for each, in their order."""
    code: Callable[..., Any] | None = None
    """A Python function in place of a formula, as `module.function`: its arguments are the columns and the parameters,
    by their names; one with a default that has no start keeps it."""
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
    """What is drawn anew for them: rows, residuals around the fit, or noise as the loss has it: normal, or counts."""
    profile: bool = False
    """Find intervals by the profile likelihood too, which lean as the formula bends."""
    by: str | None = None
    """Column whose values part the rows into groups, each of which has parameters of its own."""
    shared: tuple[str, ...] = ()
    """Parameters that are the same in all groups; where there are none, each group is fitted by itself."""

    def __post_init__(self) -> None:
        if (self.expression is None) == (self.code is None):
            problem = "must be given, or model.code" if self.code is None else "cannot stand beside model.code"
            raise ConfigError("expression", self.expression, problem, hint="for example 'model.expression=a*x+b'")
        for formula in self.formulas:
            parse(formula, variables=self.names)
        for name in self.start:
            # `train()` and `eval()` assign to this name, which a module refuses where a parameter has it.
            if name == "training":
                problem = f"{name!r} has a meaning already and can be no parameter"
                raise ConfigError("start", dict(self.start), problem, hint="give the parameter another name")
            if name not in self.names:
                raise ConfigError("start", dict(self.start), f"{name!r} does not occur in {self.text}")
        named = {"bounds": self.bounds or {}, "fixed": self.fixed, "shared": self.shared}
        for key, given in named.items():
            for name in given:
                if name not in self.start:
                    hint = suggestion(name, self.start, kind="parameters")
                    raise ConfigError(key, getattr(self, key), f"{name!r} is no parameter", hint=hint)
        if not self.trained:
            hint = "leave one of them out of model.fixed" if self.start else "give one a start: model.start={a:1}"
            raise ConfigError("start", dict(self.start), "leaves no parameter to train", hint=hint)
        for name, interval in (self.bounds or {}).items():
            self._check_bounds(name, *interval)
        if self.bootstrap == 1:
            raise ConfigError("bootstrap", 1, "is no sample to tell errors by", hint="for example model.bootstrap=1000")
        self._check_groups()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names in the formula that are no functions, constants or formulas in it, in their order."""
        if self.code is not None:
            arguments = inspect.signature(self.code).parameters.values()
            named = [each for each in arguments if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
            return tuple(each.name for each in named if each.default is each.empty or each.name in self.start)
        return tuple(dict.fromkeys(name for formula in self.formulas for name in names_in(formula)))

    @property
    def formulas(self) -> tuple[str, ...]:
        """A formula for each target; none where code gives all of them."""
        if isinstance(self.expression, str):
            return (self.expression,)
        return self.expression or ()

    @property
    def text(self) -> str:
        """What is fitted, in words of the configuration."""
        if self.code is not None:
            return f"{self.code.__module__}.{getattr(self.code, '__qualname__', self.code)}"
        return "; ".join(self.formulas)

    @property
    def defined(self) -> tuple[str, ...]:
        """The names of formulas that others make use of."""
        return tuple(dict.fromkeys(name for formula in self.formulas for name in defined_in(formula)))

    @property
    def key(self) -> str:
        """The setting that says what is fitted."""
        return "model.expression" if self.code is None else "model.code"

    @property
    def trained(self) -> tuple[str, ...]:
        """The parameters that are fitted, in the order of their starts."""
        return tuple(name for name in self.start if name not in self.fixed)

    @property
    def own(self) -> tuple[str, ...]:
        """The parameters that are fitted for each group anew."""
        return tuple(name for name in self.trained if self.by is not None and name not in self.shared)

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
        from shoal.models.formula_network import OfInputs  # which is made of this

        return OfInputs(self, tuple(inputs()))

    def _check_groups(self) -> None:
        if self.shared and self.by is None:
            problem = "has no meaning without groups to share them"
            raise ConfigError("shared", self.shared, problem, hint="name the column of the groups: model.by=COLUMN")
        for name in self.shared:
            if name in self.fixed:
                raise ConfigError("shared", self.shared, f"{name!r} is in model.fixed too", hint="leave it out of one")
        if self.by is not None and self.by in self.names:
            raise ConfigError("by", self.by, "is the column of the groups, and stands in the formula")
        if self.by is not None and not self.own:
            hint = "leave model.by out, or one of them out of model.shared"
            raise ConfigError("by", self.by, "has no effect: all parameters are shared", hint=hint)

    def _check_bounds(self, name: str, low: float | None, high: float | None) -> None:
        if low is not None and high is not None and not low < high:
            raise ConfigError("bounds", self.bounds, f"those of {name} must rise", hint=f"for example {{{name}:[0,1]}}")
        least, greatest = self.interval(name)
        if not least <= self.start[name] <= greatest:
            problem = f"{name} is outside its bounds, which are from {least:g} to {greatest:g}"
            raise ConfigError("start", dict(self.start), problem, hint="start within them, or widen model.bounds")
