"""The residuals of a formula in every run of a stack, for solvers of least squares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from shoal.expressions import Expression
from shoal.losses import Loss, MeanSquaredError
from shoal.models import FormulaNetwork
from shoal.optimizers.squares.problem import LANES, Linearized, Params, Squared, summed

Samples = Float[Tensor, "_ _"]
"""A row for each run, or one for all."""
Tensors = Mapping[str, Tensor]
_NOISE = 4 * torch.finfo(torch.float64).eps


@dataclass(frozen=True, eq=False)
class FormulaProblem:
    """The residuals of one formula. Every operation is elementwise on (runs, samples), or a sum over whole rows."""

    expression: Expression
    names: tuple[str, ...]
    """The parameters, in the order of their columns."""
    columns: Mapping[str, Samples]
    fixed: Mapping[str, Float[Tensor, "_ 1"]]
    y: Samples
    root: Samples
    """Root of each sample's weight; 0 for those that only fill up."""
    loss: Loss = MeanSquaredError()  # noqa: RUF009  frozen
    bounds: tuple[Params, Params] | None = None
    """A row for each run, or one for all."""

    @classmethod
    def of(
        cls,
        expression: Expression,
        names: Sequence[str],
        columns: Mapping[str, Samples],
        y: Samples,
        *,
        weight: Samples | None = None,
        fixed: Mapping[str, Float[Tensor, "_ 1"]] | None = None,
        loss: Loss | None = None,
        bounds: tuple[Params, Params] | None = None,
    ) -> FormulaProblem:
        """The problem, its samples filled up with copies of the first that do not count."""
        n = max(y.shape[1], len(names))  # of fewer samples than parameters there is no triangle
        n_more = n + -n % LANES - y.shape[1]
        root = torch.ones_like(y) if weight is None else weight.sqrt()
        return cls(
            expression,
            tuple(names),
            {name: _filled(column, n_more) for name, column in columns.items()},
            dict(fixed or {}),
            _filled(y, n_more),
            torch.cat([root, torch.zeros_like(root[:, :1]).expand(-1, n_more)], dim=1).contiguous(),
            loss or MeanSquaredError(),
            bounds,
        )

    def predictions(self, params: Params) -> Float[Tensor, "runs samples"]:
        """The formula's value at each sample, those that fill up among them."""
        return self._called(*self._spread(params))

    def values(self, params: Params) -> Squared:
        return self._judged(self.predictions(params))[0]

    def linearized(self, params: Params) -> Linearized:
        found, slopes = self._differentiated(params)
        values, slope = self._judged(found)
        return Linearized(values, slopes * slope)

    def slopes(self, params: Params) -> Float[Tensor, "params runs samples"]:
        """The derivative of the formula's value at each sample by each parameter."""
        return self._differentiated(params)[1]

    def select(self, rows: Tensor) -> FormulaProblem:
        def some(each: Tensor) -> Tensor:
            return each if len(each) == 1 else each[rows]

        return replace(
            self,
            columns={name: some(each) for name, each in self.columns.items()},
            fixed={name: some(each) for name, each in self.fixed.items()},
            y=some(self.y),
            root=some(self.root),
            bounds=None if self.bounds is None else (some(self.bounds[0]), some(self.bounds[1])),
        )

    def _spread(self, params: Params) -> list[Tensor]:
        """Each parameter once for every sample: a function of it is then computed as one of a column is."""
        n = self.y.shape[1]
        return [params[:, i : i + 1].expand(-1, n).contiguous() for i in range(len(self.names))]

    def _differentiated(self, params: Params) -> tuple[Tensor, Tensor]:
        """The formula's value at each sample, and its derivative by each parameter.

        By plain autograd, of a number: the transforms of torch.func import the compiler, and the derivative of a tensor
        SymPy, which takes a second.
        """
        spread = [each.requires_grad_() for each in self._spread(params.detach())]
        with torch.enable_grad():
            found = self._called(*spread)
            total = (found * torch.ones_like(found)).sum()
        slopes = torch.autograd.grad(total, spread, materialize_grads=True)
        return found.detach(), torch.stack(slopes)

    def _called(self, *spread: Tensor) -> Tensor:
        shape = spread[0].shape
        beside = {name: each.expand(shape).contiguous() for name, each in (*self.columns.items(), *self.fixed.items())}
        found = self.expression(**dict(zip(self.names, spread, strict=True)), **beside)
        return found.contiguous()

    def _judged(self, found: Tensor) -> tuple[Squared, Tensor]:
        squares = self.loss.squares(found, self.y)
        residuals = squares.residual * self.root
        slope = squares.slope * self.root
        noise = summed(residuals.abs() * slope.abs() * (found.abs() + self.y.abs())) * _NOISE
        return Squared(summed(squares.cost * self.root.square()), residuals, noise), slope


def problem_of(
    network: FormulaNetwork, loss: Loss | None, batch: Sequence[Tensor], params: Tensors, fixed: Tensors
) -> FormulaProblem:
    """The problem of runs with this network, from tensors that have the runs as their first dimension.

    `params` are the trained parameters by name, `fixed` the network's buffers. The columns of the problem's own
    parameters are in the order of the network's.
    """
    x, y, *weight = batch
    runs = len(x)
    bounds = [_interval(name, fixed, runs, x.dtype) for name in params] if network.bounded else None
    return FormulaProblem.of(
        network.expression,
        tuple(params),
        {name: x[:, :, i].contiguous() for i, name in enumerate(network.inputs)},
        y[:, :, 0].contiguous(),
        weight=weight[0] if weight else None,
        fixed={name: fixed[name].view(runs, 1) for name in network.names if name not in params},
        loss=loss,
        bounds=None
        if bounds is None
        else (torch.stack([low for low, _ in bounds], 1), torch.stack([high for _, high in bounds], 1)),
    )


def _interval(name: str, fixed: Tensors, runs: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    found = fixed.get(f"{name} bounds")
    if found is None:
        infinite = torch.full((runs,), torch.inf, dtype=dtype)
        return -infinite, infinite
    return found[:, 0], found[:, 1]


def _filled(column: Samples, n_more: int) -> Samples:
    return torch.cat([column, column[:, :1].expand(-1, n_more)], dim=1).contiguous()
