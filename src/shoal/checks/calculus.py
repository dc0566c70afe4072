"""Checks of derivatives: of formulas and Python functions, of gradients that add up, of activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Gt, MinLen

from shoal import gradcheck
from shoal.checks.check import CheckOfItself, Measured
from shoal.errors import ExitCode

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Number = int | float
Place = Number | str | dict[str, Number | list[Number]]


@dataclass(frozen=True, kw_only=True)
class Derivatives(CheckOfItself):
    """Autograd's derivatives against the analytic ones and finite differences, at a point or on an interval."""

    expression: str
    """A formula, or a Python function as module:function."""
    at: Place | None = None
    """The point: 1.234, or a value for each variable: {x: 1, y: [2, 3]}."""
    interval: str | None = None
    """The interval, in place of a point: -3,3."""
    order: Annotated[int, Ge(1)] = 1
    """Highest derivative."""
    derivative: str | None = None
    """A formula for the first derivative, in place of SymPy's."""
    tolerance: Annotated[float, Gt(0)] = 1e-6
    """Relative difference allowed between autograd and finite differences."""

    def measure(self) -> Measured:
        found = gradcheck.check(
            self.expression,
            at=self.at,
            on=self.interval,
            order=self.order,
            derivative=self.derivative,
            tolerance=self.tolerance,
        )
        row = {"largest disagreement": found.largest_disagreement}
        if found.values is not None:
            row |= {each.label: each.autograd for each in found.derivatives}
            row |= _numbered("value", found.values)
        graphs = (found.graph_in_training, found.graph_in_evaluation, found.graph_after_detach)
        # The same names as `models.Graph` has: a graph is expected in the same words whatever was checked.
        row |= {f"graph/{name}": float(is_there) for name, is_there in zip(GRAPHS, graphs, strict=True)}
        return Measured(rows=[row], text=found.text(), agrees=found.agrees)


GRAPHS = ("training", "evaluation", "detached")
"""When a graph may be recorded."""


@dataclass(frozen=True, kw_only=True)
class Accumulation(CheckOfItself):
    """What `.grad` holds after each of several calls of backward, and after it is cleared."""

    expressions: Annotated[tuple[str, ...], MinLen(1)]
    """Formulas whose backward is called, in turn."""
    at: Place
    """The point."""
    times: Annotated[int, Ge(1)] = 1
    """How often all of them."""

    def measure(self) -> Measured:
        found = gradcheck.accumulate(self.expressions, at=self.at, times=self.times)
        rows = [_gradients(call.gradients, "grad") for call in found.calls]
        # In the row of the last call: the gradients were cleared after it, and before any other.
        rows[-1] |= _gradients(found.cleared, "grad cleared")
        return Measured(rows=rows, text=found.text(), agrees=found.exit_code is ExitCode.OK)


@dataclass(frozen=True, kw_only=True)
class Activations(CheckOfItself):
    """Activation functions and their derivatives, as a figure and at whole numbers."""

    names: Annotated[tuple[str, ...], MinLen(1)] = ("relu", "sigmoid", "tanh")
    """Which ones."""
    interval: tuple[float, float] = (-4.0, 4.0)
    """Where."""
    tolerance: Annotated[float, Gt(0)] = 1e-6
    """Difference allowed between autograd and finite differences."""

    def measure(self) -> Measured:
        curves = gradcheck.activation_curves(self.names, interval=self.interval)
        row: dict[str, float] = {}
        for curve in curves:
            row[f"{curve.name}/disagreement"] = curve.disagreement
            for x, value, derivative in zip(curve.x, curve.value, curve.derivative, strict=True):
                # The points are sums of steps: of a whole number they come near.
                if abs(x - round(x)) < 1e-9:
                    row |= {f"{curve.name}({round(x)})": value, f"{curve.name}'({round(x)})": derivative}
        lines = [f"{each.name:<12} largest disagreement of its derivative {each.disagreement:.2g}" for each in curves]
        agrees = all(each.disagreement <= self.tolerance for each in curves)
        return Measured(rows=[row], text="\n".join(lines), agrees=agrees, figures={"activations": _figure(curves)})


def _figure(curves: Sequence[gradcheck.ActivationCurve]) -> Figure:
    from matplotlib.figure import Figure

    from shoal.record.figures.colors import BLUE, GRAY, ORANGE

    figure = Figure(figsize=(3.6 * len(curves), 3.2), layout="constrained")
    for axes, curve in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves, strict=True):
        axes.axhline(0, color=GRAY, linewidth=0.6)
        axes.plot(curve.x, curve.value, color=BLUE, label=curve.name)
        axes.plot(curve.x, curve.derivative, color=ORANGE, linestyle="--", label="derivative")
        axes.set(xlabel="x", title=curve.name)
        axes.legend(frameon=False, fontsize=8)
    return figure


def _gradients(gradients: Mapping[str, Any], name: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for variable, value in gradients.items():
        found |= _numbered(f"{variable}.{name}", value if isinstance(value, list) else [value])
    return found


def _numbered(name: str, values: Sequence[float]) -> dict[str, float]:
    if len(values) == 1:
        return {name: values[0]}
    return {f"{name}[{i}]": value for i, value in enumerate(values)}
