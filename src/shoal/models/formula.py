"""The model that is a formula: its names are the inputs, or else parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
    profile: bool = False
    """Find intervals by the profile likelihood too, which lean as the formula bends."""
    by: str | None = None
    """Column whose values part the rows into groups, each of which has parameters of its own."""
    shared: tuple[str, ...] = ()
    """Parameters that are the same in all groups; where there are none, each group is fitted by itself."""

    def __post_init__(self) -> None:
        parse(self.expression, variables=self.names)
        for name in self.start:
            if name not in self.names:
                raise ConfigError("start", dict(self.start), f"{name!r} does not occur in {self.expression}")
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
        self._check_groups()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names in the formula that are no functions, constants or formulas in it, in their order."""
        return names_in(self.expression)

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


@dataclass(frozen=True)
class OfInputs(Model):
    """A formula whose inputs are known by name."""

    formula: Formula
    inputs: tuple[str, ...]

    def build(self, *, inputs: int, outputs: int, generator: torch.Generator) -> nn.Module:
        """The module, its parameters at their start.

        Raises:
            ConfigError: where a name is neither an input nor a parameter, or both; the task has several outputs, or no
                column of groups.
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
        return FormulaNetwork(self.formula, self.inputs, self._groups())

    def _groups(self) -> tuple[str, ...]:
        """The groups, in the order of their inputs, of which each has one."""
        if self.formula.by is None:
            return ()
        before = f"{self.formula.by}="
        groups = tuple(name.removeprefix(before) for name in self.inputs if name.startswith(before))
        if not groups:
            hint = "a column of the table, as in task=csv"
            raise ConfigError("model.by", self.formula.by, "is no column that parts the samples", hint=hint)
        return groups


class FormulaNetwork(nn.Module):
    """A formula as a module from (batch, inputs) to (batch, 1). Its parameters are called as in the formula.

    A parameter that has left its bounds counts as the bound, and its gradient is that at the bound. One that each group
    has anew is a vector; the last inputs then say which group a sample is of, by a 1 for it and zeros for the others.
    """

    def __init__(self, formula: Formula, inputs: Sequence[str], groups: Sequence[str] = ()) -> None:
        super().__init__()
        self.formula = formula
        self.groups = tuple(groups)
        marks = {f"{formula.by}={group}" for group in groups}
        self.places = {name: i for i, name in enumerate(inputs) if name not in marks}
        """Where each column of the formula stands among the inputs."""
        self.marks = [i for i, name in enumerate(inputs) if name in marks]
        """Where the groups' do."""
        self.expression: Expression = parse(formula.expression, variables=(*self.places, *formula.start))
        self.names = tuple(formula.start)
        self.trained = formula.trained
        self.own = formula.own
        self.confidence = formula.confidence
        self.bootstrap = formula.bootstrap
        self.resampling = formula.resampling
        self.profile = formula.profile
        self.bounded = tuple(formula.bounds or ())
        for name, value in formula.start.items():
            start = torch.full((len(groups),), value) if name in self.own else torch.tensor(value)
            # Names of the user's: `register_parameter` would refuse one that a module has a method of.
            if name in self.trained:
                self._parameters[name] = nn.Parameter(start)
            else:
                self._buffers[name] = start
        for name in self.bounded:
            low, high = formula.interval(name)
            self.register_buffer(f"{name} bounds", torch.tensor([low, high]), persistent=False)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns of the formula."""
        return tuple(self.places)

    @property
    def apart(self) -> bool:
        """Whether the groups have nothing in common, so that each is a fit by itself."""
        return bool(self.groups) and self.own == self.trained

    @property
    def labels(self) -> tuple[str, ...]:
        """What each number that is fitted is called: `b`, or `b[A]` where it is that of a group."""
        return tuple(label for name in self.trained for label in self.labelled(name))

    def labelled(self, name: str) -> tuple[str, ...]:
        """The same of one parameter."""
        return tuple(f"{name}[{group}]" for group in self.groups) if name in self.own else (name,)

    def forward(self, x: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch 1"]:
        """The formula's value for each sample."""
        columns = {name: x[:, place] for name, place in self.places.items()}
        values = self.values()
        if self.groups:
            member = x[:, self.marks] > 0
            values |= {name: torch.where(member, values[name], 0.0).sum(1) for name in self.own}
        return self.expression(**columns, **values)[:, None]

    def values(self) -> dict[str, Tensor]:
        """Each parameter by its name, within its bounds."""
        return {name: self._within(name, self._parameters.get(name, self._buffers.get(name))) for name in self.names}

    def bounds(self, name: str) -> tuple[Tensor, Tensor] | None:
        """The least and the greatest value of a parameter, where it has bounds."""
        found = self._buffers.get(f"{name} bounds")
        return None if found is None else (found[0], found[1])

    def recorded(self) -> dict[str, Tensor]:
        """What is logged after each epoch: the parameters."""
        values = self.values()
        return {
            label: value
            for name in self.names
            for label, value in zip(self.labelled(name), values[name].reshape(-1), strict=True)
        }

    def of_group(self, group: int) -> FormulaNetwork:
        """The formula of one group alone, its parameters where they stand here."""
        alone = FormulaNetwork(replace(self.formula, by=None, shared=()), self.inputs)
        for name, value in self.values().items():
            found = (value[group] if name in self.own else value).detach()
            if name in self.trained:
                alone._parameters[name] = nn.Parameter(found)
            else:
                alone._buffers[name] = found
        for name in self.bounded:
            alone._buffers[f"{name} bounds"] = self._buffers[f"{name} bounds"]
        return alone

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
