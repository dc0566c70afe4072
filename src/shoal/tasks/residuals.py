"""The residuals of a formula in every run of a stack, for solvers of least squares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from shoal.expressions import Expression
from shoal.losses import Loss, MeanSquaredError
from shoal.models import FormulaNetwork
from shoal.optimizers.squares.problem import LANES, Linearized, Params, Squared, summed
from shoal.tasks.groups import Given

Samples = Float[Tensor, "_ _"]
"""A row for each run, or one for all."""
Tensors = Mapping[str, Tensor]
_NOISE = 4 * torch.finfo(torch.float64).eps


@dataclass(frozen=True, eq=False)
class FormulaProblem:
    """The residuals of one formula. Every operation is elementwise on (runs, samples), or a sum over whole rows."""

    expression: Expression
    names: tuple[str, ...]
    """The parameters, in the order of their columns; one that each group has anew has a column for each."""
    columns: Mapping[str, Samples]
    fixed: Mapping[str, Float[Tensor, "_ 1"]]
    y: Samples
    root: Samples
    """Root of each sample's weight; 0 for those that only fill up."""
    loss: Loss = MeanSquaredError()  # noqa: RUF009  frozen
    bounds: tuple[Params, Params] | None = None
    """A row for each run, or one for all."""
    own: tuple[str, ...] = ()
    """The parameters that each group has anew."""
    member: Bool[Tensor, "_ samples groups"] | None = None
    """Which group each sample is of, where there are groups."""
    fits: int = 1
    """How many fits, each of which has a row, a run is made of."""

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
        own: Sequence[str] = (),
        member: Bool[Tensor, "_ samples groups"] | None = None,
    ) -> FormulaProblem:
        """The problem, its samples filled up with copies of the first that do not count."""
        n_params = len(names) + len(own) * (0 if member is None else member.shape[-1] - 1)
        n = max(y.shape[1], n_params)  # of fewer samples than parameters there is no triangle
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
            tuple(own),
            None if member is None else _filled(member, n_more),
        )

    def predictions(self, params: Params) -> Float[Tensor, "runs samples"]:
        """The formula's value at each sample, those that fill up among them."""
        return self._called(*self._spread(params))

    def values(self, params: Params) -> Squared:
        return self._judged(self.predictions(params))[0]

    def linearized(self, params: Params) -> Linearized:
        found, slopes = self._differentiated(params)
        values, slope = self._judged(found)
        return Linearized(values, self._by_column(slopes) * slope)

    def slopes(self, params: Params) -> Float[Tensor, "params runs samples"]:
        """The derivative of the formula's value at each sample by each parameter."""
        return self._by_column(self._differentiated(params)[1])

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
            member=None if self.member is None else some(self.member),
        )

    def _spread(self, params: Params) -> list[Tensor]:
        """Each parameter once for every sample: a function of it is then computed as one of a column is."""
        n = self.y.shape[1]
        at, spread = 0, []
        for name in self.names:
            if self.member is not None and name in self.own:
                columns = params[:, None, at : at + self.member.shape[-1]]
                spread.append(torch.where(self.member, columns, 0.0).sum(-1))
                at += self.member.shape[-1]
            else:
                spread.append(params[:, at : at + 1].expand(-1, n).contiguous())
                at += 1
        return spread

    def _by_column(self, slopes: Float[Tensor, "names runs samples"]) -> Float[Tensor, "params runs samples"]:
        """Derivatives by each parameter of a sample as those by the numbers that are fitted."""
        if self.member is None:
            return slopes
        member = self.member.movedim(-1, 0)
        return torch.cat(
            [
                torch.where(member, slope, 0.0) if name in self.own else slope[None]
                for name, slope in zip(self.names, slopes, strict=True)
            ]
        )

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
    network: FormulaNetwork,
    loss: Loss | None,
    batch: Sequence[Tensor],
    params: Tensors,
    fixed: Tensors,
    *,
    together: bool = False,
) -> FormulaProblem:
    """The problem of runs with this network, from tensors that have the runs as their first dimension.

    `params` are the trained parameters by name, `fixed` the network's buffers. The columns of the problem's own
    parameters are in the order of the network's. Groups that have nothing in common are fits of their own, unless they
    are wanted `together`.
    """
    x, y, *weight = batch
    given = Given(
        {name: x[:, :, place].contiguous() for name, place in network.places.items()},
        y[:, :, 0].contiguous(),
        weight[0] if weight else None,
        x[:, :, network.marks] > 0 if network.groups else None,
        {name: fixed[name].view(len(x), 1) for name in network.names if name not in params},
        _bounds(network, params, fixed),
    )
    fits = 1
    if network.apart and not together:
        fits, given = len(network.groups), given.apart()
    problem = FormulaProblem.of(
        network.expression,
        tuple(params),
        given.columns,
        given.y,
        weight=given.weight,
        fixed=given.fixed,
        loss=loss,
        bounds=given.bounds,
        own=() if given.member is None else network.own,
        member=given.member,
    )
    return replace(problem, fits=fits)


def _bounds(network: FormulaNetwork, params: Tensors, fixed: Tensors) -> tuple[Params, Params] | None:
    """The bounds of each number that is fitted, where any has some."""
    if not network.bounded:
        return None
    columns = [_interval(fixed, name, len(network.labelled(name))) for name in params]
    low, high = (torch.cat(ends, dim=1) for ends in zip(*columns, strict=True))
    return low, high


def _interval(fixed: Tensors, name: str, n: int) -> tuple[Params, Params]:
    """The bounds of a parameter of `n` numbers."""
    runs, *_ = next(iter(fixed.values())).shape
    found = fixed.get(f"{name} bounds")
    if found is None:
        infinite = next(iter(fixed.values())).new_full((runs, n), torch.inf)
        return -infinite, infinite
    return found[:, :1].expand(-1, n), found[:, 1:].expand(-1, n)


def _filled(column: Tensor, n_more: int) -> Tensor:
    return torch.cat([column, column[:, :1].expand(-1, n_more, *column.shape[2:])], dim=1).contiguous()
