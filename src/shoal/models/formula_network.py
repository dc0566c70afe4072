"""A formula, or a function of the user's own, as a module of named inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from shoal.errors import ConfigError, nearest
from shoal.expressions import parse
from shoal.models.fitted_functions import Curves, Formulas, OwnCode, by_group
from shoal.models.formula import Formula
from shoal.models.model import Model


@dataclass(frozen=True)
class OfInputs(Model):
    """A formula whose inputs are known by name."""

    formula: Formula
    inputs: tuple[str, ...]

    def build(self, *, inputs: int, outputs: int, generator: torch.Generator) -> nn.Module:
        """The module, its parameters at their start.

        Raises:
            ConfigError: where a name is neither an input nor a parameter, or both; there is not a formula for each
                output, or no column of groups.
        """
        del inputs, generator
        for name in self.formula.columns:
            if name not in self.inputs:
                raise unknown(self.formula, name, self.inputs)
        for name in self.formula.start:
            if name in self.inputs:
                raise twice(self.formula, name)
        return FormulaNetwork(self.formula, self.inputs, self._groups(), outputs=outputs)

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
    """A formula as a module from (batch, inputs) to (batch, outputs). Its parameters are called as in the formula.

    A parameter that has left its bounds counts as the bound, and its gradient is that at the bound. One that each group
    has anew is a vector; the last inputs then say which group a sample is of, by a 1 for it and zeros for the others.
    """

    per_run: ClassVar[tuple[str, ...]] = ("formula",)
    """The settings have the start, which is each run's own; whatever else is in them stands beside them here."""

    def __init__(
        self, formula: Formula, inputs: Sequence[str], groups: Sequence[str] = (), *, outputs: int = 1
    ) -> None:
        super().__init__()
        self.formula = formula
        self.groups = tuple(groups)
        marks = {f"{formula.by}={group}" for group in groups}
        self.places = {name: i for i, name in enumerate(inputs) if name not in marks}
        """Where each column of the formula stands among the inputs."""
        self.marks = [i for i, name in enumerate(inputs) if name in marks]
        """Where the groups' do."""
        self.curves: Curves = _curves(formula, (*self.places, *formula.start), outputs)
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
            # No parameter's name has a space. Not in checkpoints: it follows from the settings.
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
        """The labels of one parameter's numbers."""
        return tuple(f"{name}[{group}]" for group in self.groups) if name in self.own else (name,)

    def forward(self, x: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch outputs"]:
        """The formula's value for each sample."""
        columns = {name: x[:, place] for name, place in self.places.items()}
        values = self.values()
        if not self.groups:
            return self.curves(**columns, **values)
        member = x[:, self.marks] > 0
        if isinstance(self.curves, OwnCode):
            return by_group(self.curves, columns, values, member, self.own)
        # Not by a product with the marks: 0 times another group's infinite parameter is no number.
        values |= {name: torch.where(member, values[name], 0.0).sum(1) for name in self.own}
        return self.curves(**columns, **values)

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
        formula = replace(self.formula, by=None, shared=())
        alone = FormulaNetwork(formula, self.inputs, outputs=self.curves.outputs)
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
        return str(self.curves)

    def _within(self, name: str, value: Tensor | None) -> Tensor:
        assert value is not None
        bounds = self.bounds(name)
        if bounds is None:
            return value
        # A clamp has no gradient beyond a bound: a parameter that is there would never come back.
        return value.maximum(bounds[0]).minimum(bounds[1]).detach() + (value - value.detach())


def unknown(formula: Formula, name: str, inputs: Sequence[str]) -> ConfigError:
    """What to say of a name that is neither an input nor has a start."""
    parts = [each for each in inputs if each.startswith((f"{name}.", f"{name}="))]
    if parts:
        # Dates have become several inputs, as `day.year`, and so have names, as `site=north`.
        problem = f"{name!r} is a column of dates or names, which are split into {', '.join(parts)}"
        hint = "a formula takes numbers: give dates as days since the first, and names as groups, model.by"
        return ConfigError(formula.key, formula.text, problem, hint=hint)
    guess = nearest(name, (*inputs, *formula.start))
    meant = f"did you mean {guess}? " if guess else ""
    hint = f"{meant}a parameter needs a start: model.start.{name}=1; columns: {', '.join(inputs) or 'none'}"
    return ConfigError(formula.key, formula.text, f"{name!r} is neither a column nor a parameter", hint=hint)


def twice(formula: Formula, name: str) -> ConfigError:
    """What to say of a name that is an input and a parameter."""
    hint = f"rename the parameter, or leave the column out: task.exclude=[{name}]"
    return ConfigError("model.start", dict(formula.start), f"{name!r} is a column too", hint=hint)


def _curves(formula: Formula, variables: Sequence[str], outputs: int) -> Curves:
    """What a model computes for so many targets, its names being these.

    Raises:
        ConfigError: where it has not a formula for each target.
    """
    if formula.code is not None:
        return OwnCode(formula.code, formula.text, outputs)
    if len(formula.formulas) != outputs:
        wanted = "one target" if outputs == 1 else f"{outputs} targets"
        hint = f"model.expression=[{','.join(['...'] * outputs)}] has a formula for each" if outputs > 1 else None
        problem = f"has {len(formula.formulas)} formula{'s' * (len(formula.formulas) > 1)} for {wanted}"
        raise ConfigError("model.expression", formula.expression, problem, hint=hint)
    return Formulas(tuple(parse(text, variables=variables) for text in formula.formulas))
