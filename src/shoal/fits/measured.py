"""The result of a fit, measured where it has ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from shoal.fits.bootstrap import bootstrap
from shoal.fits.covariance import Covariance, covariance
from shoal.fits.fit import UNDETERMINED, Fit, Parameter, correlations, reach
from shoal.fits.profile import Profile, profile
from shoal.fits.residual_tests import normality, signs
from shoal.losses import Likelihood, Loss, LossFunction
from shoal.models import FormulaNetwork
from shoal.review.wording import counted
from shoal.seeding import Stream, generator
from shoal.tasks import Split, Supervised
from shoal.tasks.formula_problem import FormulaProblem
from shoal.tasks.residuals import problem_of

_SLOPE = 1e-3
"""Below this cosine the residuals count as at right angles to what the parameters change."""
_WHOLE = 1e-6
"""How far from a whole number a count may be, of itself: a share times its trials is rounded."""
_ROUNDED = 0.01
"""By how much a count may be off whose share is written with a few digits."""
_BETTER = "a smaller cost was met beside the fit, while others were profiled: start from elsewhere"


@dataclass(frozen=True)
class Ended:
    """One run's problem where its fit has ended; tensors have two equal rows, as in a stack."""

    problem: FormulaProblem
    params: Float[Tensor, "two params"]
    samples: Split

    @classmethod
    def of(cls, module: Supervised, samples: Split) -> Ended:
        """The end that the module's parameters stand at, on these samples."""
        return cls.at(cast(FormulaNetwork, module.model), module.loss, samples)

    @classmethod
    def at(cls, network: FormulaNetwork, loss: LossFunction, samples: Split) -> Ended:
        """The end that a formula's parameters stand at, under a loss."""
        values = {name: value.detach().double() for name, value in network.values().items()}
        twice = [each.double()[None].repeat(2, *[1] * each.dim()) for each in samples.tensors]
        fixed = {name: each.double()[None].repeat(2, *[1] * each.dim()) for name, each in network.named_buffers()}
        trained = {name: values[name] for name in network.trained}
        squared = isinstance(loss, Loss) and type(loss).squares is not Loss.squares
        problem = problem_of(network, cast(Loss, loss) if squared else None, twice, trained, fixed, together=True)
        return cls(problem, torch.cat([value.reshape(-1) for value in trained.values()]).repeat(2, 1), samples)

    @property
    def jacobian(self) -> Float[Tensor, "params samples"]:
        """Derivative of each weighted residual by each parameter."""
        return self.problem.real(self.problem.linearized(self.params).jacobian[:, 0])

    @property
    def residuals(self) -> Float[Tensor, " samples"]:
        """The weighted residuals, those of each target one after the other."""
        return self.problem.real(self.problem.values(self.params).residuals[0])

    @property
    def residuals_in_order(self) -> Float[Tensor, " samples"]:
        """Those that count, in the order of the first column, if there is one."""
        columns = list(self.problem.columns.values())
        order = columns[0][0, : self.problem.n].argsort(stable=True) if columns else torch.arange(self.problem.n)
        shape, root = (self.problem.curves.outputs, self.problem.n), self.problem.real(self.problem.root[0])
        return self.residuals.view(shape)[:, order][root.view(shape)[:, order] > 0]

    @property
    def cost(self) -> float:
        """The sum of the squared residuals, or what takes its place."""
        return float(self.problem.values(self.params).cost[0])

    @property
    def logs(self) -> float:
        """The sum of the logarithms of the weights of the samples that count."""
        root = self.problem.root[0]
        return float(root[root > 0].log().sum()) * 2

    @property
    def weight(self) -> float:
        """The mean weight of the samples that count."""
        return float(self.problem.root[0].square().sum()) / max(self.n, 1)

    @property
    def weights(self) -> tuple[float, ...]:
        """The mean weight of each target's samples, where there are several targets."""
        if self.problem.curves.outputs == 1:
            return ()
        root = self.problem.by_target(self.problem.root[0])
        return tuple((root.square().sum(1) / (root > 0).sum(1).clamp_min(1)).tolist())

    @property
    def n(self) -> int:
        """How many samples count."""
        return int((self.problem.root[0] > 0).sum())

    @property
    def held(self) -> Bool[Tensor, " params"]:
        """Parameters that stand at a bound."""
        if self.problem.bounds is None:
            return torch.zeros(self.params.shape[1], dtype=torch.bool)
        low, high = (bound[0] for bound in self.problem.bounds)
        return (self.params[0] <= low) | (self.params[0] >= high)


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """What a fit was made with beside its samples, and how it ended."""

    loss: LossFunction
    seed: int
    absolute: bool
    """Whether the standard errors of the rows are taken as they are."""
    level: float
    stopped: str | None = None
    steps: int = 0

    def fit(self, network: FormulaNetwork, samples: Split) -> Fit:
        """The fit of a formula to samples; groups of them have parameters in common, if there are any."""
        end = Ended.at(network, self.loss, samples)
        found = covariance(end.jacobian, end.held)
        # What is at its bound, or is not determined, was not free to follow the samples.
        freedom = end.n - found.rank
        variance = end.cost / freedom if freedom > 0 else math.nan
        scale = 1.0 if self.absolute else variance
        t = reach(self.level, freedom, absolute=self.absolute)
        parameters = _parameters(network, end, found, scale, t)
        aic, bic = _criteria(end, found.rank, self.absolute)
        sure = [i for i, label in enumerate(network.labels) if _named(parameters, label).error is not None]
        profiled = self._profile(network, end, found, sure, scale, t)
        return Fit(
            parameters=parameters,
            level=self.level,
            samples=end.n,
            freedom=freedom,
            cost=end.cost,
            reduced=known(variance),
            deviation=known(math.sqrt(variance)) if variance >= 0 else None,
            r2=None if isinstance(self.loss, Likelihood) else explained([end]),
            aic=aic,
            bic=bic,
            covariance=_numbers(found.matrix * scale),
            correlations=correlations(found.matrix[sure][:, sure].tolist()),
            runs_test=signs(end.residuals_in_order),
            normality=normality(end.residuals_in_order),
            absolute=self.absolute,
            weight=end.weight,
            weights=end.weights,
            stopped=self.stopped,
            steps=self.steps,
            profile=None
            if profiled is None
            else dict(zip((network.labels[i] for i in sure), profiled.ends, strict=True)),
            bootstrap=self._bootstrap(network, end),
            warnings=(*_warnings(network, end, found, scale), *([_BETTER] if profiled and profiled.better else [])),
        )

    def _profile(
        self, network: FormulaNetwork, end: Ended, found: Covariance, sure: list[int], scale: float, t: float
    ) -> Profile | None:
        if not network.profile or not sure:
            return None
        one = end.problem.select(torch.tensor([0]))
        return profile(one, end.params[0], found.matrix * scale, sure, variance=scale, t=t)

    def _bootstrap(self, network: FormulaNetwork, end: Ended) -> dict[str, Any] | None:
        if not network.bootstrap:
            return None
        return bootstrap(
            end.problem.select(torch.tensor([0])),
            end.params[0],
            labels=network.labels,
            samples=network.bootstrap,
            resampling=network.resampling,
            level=self.level,
            generator=generator(self.seed, Stream.BOOTSTRAP),
            known=self.absolute,
        ).plain()


def _parameters(
    network: FormulaNetwork, end: Ended, found: Covariance, scale: float, t: float
) -> tuple[Parameter, ...]:
    places = {label: i for i, label in enumerate(network.labels)}
    parameters = []
    for label, value in ((label, float(value.detach())) for label, value in network.recorded().items()):
        if label not in places:
            parameters.append(Parameter(name=label, value=value, note="fixed"))
            continue
        i = places[label]
        # nan for none: without degrees of freedom there is no variance.
        error = math.sqrt(found.matrix[i, i] * scale) if scale >= 0 else math.nan
        loose = UNDETERMINED if found.undetermined[i] else "" if math.isfinite(error) else "not known"
        note = "at its bound" if end.held[i] else loose
        if note:
            parameters.append(Parameter(name=label, value=value, note=note))
        else:
            low, high = value - t * error, value + t * error
            parameters.append(Parameter(name=label, value=value, error=error, low=low, high=high))
    return tuple(parameters)


def _named(parameters: Sequence[Parameter], name: str) -> Parameter:
    return next(each for each in parameters if each.name == name)


def explained(ends: Sequence[Ended]) -> float | None:
    """R2: the share of the targets' weighted variance that the formula explains, each being around its own mean."""
    # Of all groups together: each target has one mean.
    weight = torch.cat([end.problem.by_target(end.problem.root[0].square()) for end in ends], dim=1)
    y = torch.cat([end.problem.by_target(end.problem.y[0]) for end in ends], dim=1)
    mean = (weight * y).sum(1, keepdim=True) / weight.sum(1, keepdim=True)
    total = float((weight * (y - mean).square()).sum())
    return 1 - sum(end.cost for end in ends) / total if total > 0 else None


def _criteria(end: Ended, rank: int, absolute: bool) -> tuple[float | None, float | None]:
    """AIC and BIC of a fit."""
    # A variance that is told from the residuals is a parameter as well.
    k = rank + (not absolute)
    if isinstance(end.problem.loss, Likelihood):
        weight = end.problem.root[0].square()
        counted = weight > 0
        best = end.problem.loss.at_best(end.problem.y[0][counted], weight[counted])
        deviance = end.cost + float(best.sum())
        return deviance + 2 * k, deviance + k * math.log(end.n)
    return criteria(end.cost, end.n, end.logs, k, absolute=absolute)


def criteria(cost: float, n: int, logs: float, k: int, *, absolute: bool) -> tuple[float | None, float | None]:
    """AIC and BIC, as R has them: of normal residuals the unknown variance counts as one of the `k` parameters.

    `logs` is the sum of the logarithms of the weights.
    """
    if absolute:
        deviance = cost + n * math.log(2 * math.pi) - logs
    elif cost > 0:
        deviance = n * (math.log(2 * math.pi * cost / n) + 1) - logs
    else:
        return None, None
    return deviance + 2 * k, deviance + k * math.log(n)


def _warnings(network: FormulaNetwork, end: Ended, found: Covariance, scale: float) -> list[str]:
    warnings = []
    loose = [name for name, each in zip(network.labels, found.undetermined.tolist(), strict=True) if each]
    if loose:
        together = "together" if len(loose) > 1 else "at all"
        warnings.append(f"the data do not determine {', '.join(loose)} {together}: the Jacobian is singular")
    for i, name in enumerate(network.labels):
        if end.held[i]:
            warnings.append(f"{name} is at its bound, {float(end.params[0, i]):g}: its error is not known")
    slope = _slope(end)
    if slope > _SLOPE:
        warnings.append(f"this is no minimum yet (the steps have ended at a slope of {slope:.1g}): errors mean little")
    if math.isnan(scale):
        warnings.append(
            f"{counted(len(network.labels), 'parameter')} of {counted(end.n, 'sample')} leave nothing to tell errors by"
        )
    return warnings + _uncounted(end)


def _uncounted(end: Ended) -> list[str]:
    """That a likelihood of counts was given other numbers, with which its errors mean something else."""
    loss, weight = end.problem.loss, end.problem.root[0].square()
    if not isinstance(loss, Likelihood):
        return []
    counts = loss.counts(end.problem.y[0][weight > 0], weight[weight > 0])
    broken = counts[(counts - counts.round()).abs() > (_WHOLE * counts.abs()).clamp_min(_ROUNDED)]
    if not len(broken):
        return []
    some = f"{len(broken)} of {len(counts)} {loss.counted} are no whole numbers, {broken[0].item():g} the first"
    return [f"{some}: errors, AIC and BIC are those of counts"]


def _numbers(matrix: Tensor) -> tuple[tuple[float | None, ...], ...]:
    return tuple(tuple(map(known, row)) for row in matrix.tolist())


def _slope(end: Ended) -> float:
    """The largest cosine between the residuals and a column of the Jacobian that is free to move; 0 at a minimum."""
    jacobian, residuals = end.jacobian[~end.held], end.residuals
    product = jacobian.square().sum(-1).sqrt() * residuals.square().sum().sqrt()
    cosines = torch.where(product > 0, (jacobian @ residuals).abs() / torch.where(product > 0, product, 1.0), 0.0)
    # The residuals of an exact fit are rounding, and so would its slope be.
    noise = float(end.problem.values(end.params).noise[0]) / end.cost if end.cost > 0 else 1.0
    return float(cosines.max()) if len(cosines) and noise < _SLOPE else 0.0


def known(value: float) -> float | None:
    """A number, or None where it is not finite."""
    return value if math.isfinite(value) else None
