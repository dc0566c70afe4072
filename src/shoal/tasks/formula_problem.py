"""The residuals of a formula in every run of a stack, for solvers of least squares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from shoal.expressions import Expression
from shoal.losses import Loss, MeanSquaredError
from shoal.models import Curves, Formulas
from shoal.optimizers.squares.problem import LANES, Linearized, Params, Squared, summed
from shoal.tasks.code_problem import differentiated, mapped, predicted

Samples = Float[Tensor, "_ _"]
"""A row for each run, or one for all."""
# A few operations' rounding for each sample.
_NOISE = 4 * torch.finfo(torch.float64).eps


@dataclass(frozen=True, eq=False)
class FormulaProblem:
    """The residuals of one formula. Every operation is elementwise on (runs, samples), or a sum over whole rows.

    Of several targets each has a block of samples, filled up by itself; code computes each run by itself.
    """

    curves: Curves
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
    n: int = 0
    """Samples of each target, without those that fill up."""

    @classmethod
    def of(
        cls,
        curves: Curves,
        names: Sequence[str],
        columns: Mapping[str, Samples],
        y: Float[Tensor, "_ _ outputs"],
        *,
        weight: Tensor | None = None,
        fixed: Mapping[str, Float[Tensor, "_ 1"]] | None = None,
        loss: Loss | None = None,
        bounds: tuple[Params, Params] | None = None,
        own: Sequence[str] = (),
        member: Bool[Tensor, "_ samples groups"] | None = None,
    ) -> FormulaProblem:
        """The problem, its samples filled up with copies of the first that do not count.

        A weight is one for each sample, or for each of its targets.
        """
        n_params = len(names) + len(own) * (0 if member is None else member.shape[-1] - 1)
        n = max(y.shape[1], n_params)  # of fewer samples than parameters there is no triangle
        n_more = n + -n % LANES - y.shape[1]
        # The root, as a residual is squared: its weight comes out whole.
        root = torch.ones_like(y) if weight is None else weight.view(*weight.shape[:2], -1).sqrt().expand(y.shape)
        return cls(
            curves,
            tuple(names),
            {name: _filled(column, n_more) for name, column in columns.items()},
            dict(fixed or {}),
            _in_blocks(_filled(y, n_more)),
            # No weight for the samples that fill up: they are there for whole vectors alone.
            _in_blocks(torch.cat([root, torch.zeros_like(root[:, :1]).expand(-1, n_more, -1)], dim=1)),
            loss or MeanSquaredError(),
            bounds,
            tuple(own),
            None if member is None else _filled(member, n_more),
            n=y.shape[1],
        )

    def real(self, values: Float[Tensor, "*_ samples"]) -> Float[Tensor, "*_ real"]:
        """The values of real samples, without those that fill up: the first target's, then the next one's."""
        return self.by_target(values)[..., : self.n].flatten(-2)

    def by_target(self, values: Float[Tensor, "*_ samples"]) -> Float[Tensor, "*_ outputs of_target"]:
        """The values in parts, one for the samples of each target."""
        return values.view(*values.shape[:-1], self.curves.outputs, -1)

    def of_all(self, real: Float[Tensor, "*_ real"]) -> Float[Tensor, "*_ samples"]:
        """The inverse of `real`: values for all samples; one that fills up gets the value of its target's first."""
        n_more = self.y.shape[1] // self.curves.outputs - self.n
        blocks = real.reshape(*real.shape[:-1], self.curves.outputs, self.n)
        return torch.cat([blocks, blocks[..., :1].expand(*blocks.shape[:-1], n_more)], dim=-1).flatten(-2)

    def predictions(self, params: Params) -> Float[Tensor, "runs samples"]:
        """The formula's value at each sample, those that fill up among them."""
        if not isinstance(self.curves, Formulas):
            return self.of_all(predicted(self, params))
        return self._called(*self._spread(params))

    def values(self, params: Params) -> Squared:
        return self._judged(self.predictions(params))[0]

    def linearized(self, params: Params) -> Linearized:
        found, slopes = self._differentiated(params)
        values, slope = self._judged(found)
        # The chain rule: how the loss's residual changes with the prediction, times how that does.
        return Linearized(values, slopes * slope)

    def slopes(self, params: Params) -> Float[Tensor, "params runs samples"]:
        """The derivative of the formula's value at each sample by each parameter."""
        return self._differentiated(params)[1]

    def sloped(self, params: Params) -> tuple[Float[Tensor, "runs real"], list[Tensor | float]]:
        """The formula's values, and their derivatives by each number, broadcast to no more than they depend on.

        As cheap as can be: the bits of a run may depend on how many there are.
        """
        found = self._sloped(params) if isinstance(self.curves, Formulas) else mapped(self, params)
        if found is None:
            values, slopes = self._differentiated(params)
            return self.real(values), list(self.real(slopes))
        return found

    def _sloped(self, params: Params) -> tuple[Tensor, list[Tensor | float]] | None:
        assert isinstance(self.curves, Formulas)
        # The rules are for one formula of columns and numbers.
        if self.curves.outputs > 1 or self.member is not None:
            return None
        columns = {name: each[:, : self.n] for name, each in self.columns.items()}
        own = {name: params[:, i : i + 1] for i, name in enumerate(self.names)}
        found = self.curves.each[0].with_slopes({**columns, **self.fixed, **own}, self.names)
        if found is None or not isinstance(found[0], Tensor):
            return None
        return found[0].expand(len(params), self.n), found[1]

    def bends(self, params: Params) -> Float[Tensor, "params params runs samples"] | None:
        """The second derivatives of the formula's value; None of code, and where groups have their own parameters."""
        if not isinstance(self.curves, Formulas) or self.member is not None:
            return None
        spread = [each.requires_grad_() for each in self._spread(params.detach())]
        found = [self._bent(formula, spread) for formula in self.curves.each]
        return _side_by_side(found)

    def _bent(self, formula: Expression, spread: list[Tensor]) -> Tensor:
        with torch.enable_grad():
            value = self._value(formula, spread)
            slopes = torch.autograd.grad(
                # Times ones: the gradient of a plain sum is an expanded number, whose kernels may round otherwise.
                (value * torch.ones_like(value)).sum(),
                spread,
                create_graph=True,
                materialize_grads=True,
            )
        rows = [
            torch.stack(torch.autograd.grad(slope.sum(), spread, retain_graph=True, materialize_grads=True))
            if slope.requires_grad
            else torch.zeros(len(spread), *slope.shape, dtype=slope.dtype, device=slope.device)
            for slope in slopes
        ]
        return torch.stack(rows)

    def select(self, rows: Tensor) -> FormulaProblem:
        def some(each: Tensor) -> Tensor:
            # What is the same for all runs stays one row.
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
        n = self.y.shape[1] // self.curves.outputs
        at, spread = 0, []
        for name in self.names:
            if self.member is not None and name in self.own:
                columns = params[:, None, at : at + self.member.shape[-1]]
                # One summand is not zero, so that the sum is exact. Not by a product: another group's may be infinite.
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
        """The formula's value at each sample, and its derivative by each number that is fitted.

        By plain autograd, of a number: the transforms of torch.func import the compiler, and the derivative of a tensor
        SymPy, which takes a second.
        """
        if not isinstance(self.curves, Formulas):
            real, derivatives = differentiated(self, params)
            return self.of_all(real), self.of_all(derivatives)
        spread = [each.requires_grad_() for each in self._spread(params.detach())]
        found, slopes = [], []
        for formula in self.curves.each:
            with torch.enable_grad():
                found.append(self._value(formula, spread))
                total = (found[-1] * torch.ones_like(found[-1])).sum()
            slopes.append(torch.stack(torch.autograd.grad(total, spread, materialize_grads=True)))
        values = [each.detach() for each in found]
        return _side_by_side(values), _side_by_side([self._by_column(each) for each in slopes])

    def _called(self, *spread: Tensor) -> Tensor:
        assert isinstance(self.curves, Formulas)
        return _side_by_side([self._value(formula, spread) for formula in self.curves.each])

    def _value(self, formula: Expression, spread: Sequence[Tensor]) -> Tensor:
        shape = spread[0].shape
        # Contiguous: through memory that is broadcast kernels take other paths, whose last bits may differ.
        beside = {name: each.expand(shape).contiguous() for name, each in (*self.columns.items(), *self.fixed.items())}
        return formula(**dict(zip(self.names, spread, strict=True)), **beside).contiguous()

    def _judged(self, found: Tensor) -> tuple[Squared, Tensor]:
        squares = self.loss.squares(found, self.y)
        residuals = squares.residual * self.root
        slope = squares.slope * self.root
        # By how much the cost may change if each prediction is off by its rounding.
        noise = summed(residuals.abs() * slope.abs() * (found.abs() + self.y.abs())) * _NOISE
        return Squared(summed(squares.cost * self.root.square()), residuals, noise), slope


def _in_blocks(values: Float[Tensor, "_ samples outputs"]) -> Samples:
    """The samples of each target one after the other."""
    return values.movedim(-1, 1).flatten(1).contiguous()


def _side_by_side(blocks: Sequence[Tensor]) -> Tensor:
    return blocks[0] if len(blocks) == 1 else torch.cat(list(blocks), dim=-1)


def _filled(column: Tensor, n_more: int) -> Tensor:
    return torch.cat([column, column[:, :1].expand(-1, n_more, *column.shape[2:])], dim=1).contiguous()
