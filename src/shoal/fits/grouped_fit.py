"""The fit of a formula to samples in groups, each with parameters of its own."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from shoal.fits.fit import Fit, OfGroup, Parameter, correlations
from shoal.fits.measured import Ended, Measuring, criteria, explained, known
from shoal.losses import Likelihood, title
from shoal.models import FormulaNetwork
from shoal.tasks import Data, Split, Supervised

_Matrix = tuple[tuple[float | None, ...], ...]


def measured_fit(module: Supervised, data: Data, *, level: float, stopped: str | None = None, steps: int = 0) -> Fit:
    """The fit of a formula to the training samples."""
    found = _measured(module, data, level=level, stopped=stopped, steps=steps)
    # In order of size: another seed may have drawn the same rows in another.
    values = data.train.y.double().flatten().sort().values
    drawn = hashlib.sha256(values.numpy().tobytes()).hexdigest()[:16]
    return replace(found, targets=data.targets, loss=title(module.loss, None, classes=False), drawn=drawn)


def _measured(module: Supervised, data: Data, *, level: float, stopped: str | None, steps: int) -> Fit:
    network = cast(FormulaNetwork, module.model)
    absolute = bool(data.encoding.get("absolute")) or isinstance(module.loss, Likelihood)
    measuring = Measuring(
        loss=module.loss, seed=module.seed, absolute=absolute, level=level, stopped=stopped, steps=steps
    )
    if not network.groups:
        return measuring.fit(network, data.train)
    parts = _parts(network, data.train)
    if not network.apart:
        groups = tuple(_shared(name, measuring, *part) for name, part in parts.items())
        return replace(measuring.fit(network, data.train), groups=groups)
    return _together(measuring, network, parts)


def _parts(network: FormulaNetwork, samples: Split) -> dict[str, tuple[FormulaNetwork, Split]]:
    """The formula and the samples of each group, without the inputs that tell groups apart."""
    columns = list(network.places.values())
    found = {}
    for i, (name, mark) in enumerate(zip(network.groups, network.marks, strict=True)):
        chosen = samples.at(samples.x[:, mark] > 0)
        found[name] = (network.of_group(i), replace(chosen, x=chosen.x[:, columns]))
    return found


def _shared(name: str, measuring: Measuring, network: FormulaNetwork, samples: Split) -> OfGroup:
    """The result for one group of a fit whose groups share parameters."""
    if not len(samples):
        return OfGroup(name=name, samples=0, cost=0.0, r2=None)
    end = Ended.at(network, measuring.loss, samples)
    r2 = None if isinstance(measuring.loss, Likelihood) else explained([end])
    return OfGroup(name=name, samples=end.n, cost=end.cost, r2=r2)


def _together(measuring: Measuring, network: FormulaNetwork, parts: Mapping[str, tuple[FormulaNetwork, Split]]) -> Fit:
    """One result of the fits of all groups, each of which is as it would be alone."""
    # A group may have all of its rows in the test part.
    filled = {name: part for name, part in parts.items() if len(part[1])}
    fits = {name: measuring.fit(*part) for name, part in filled.items()}
    ends = [Ended.at(of_group, measuring.loss, samples) for of_group, samples in filled.values()]
    cost, freedom = sum(fit.cost for fit in fits.values()), sum(fit.freedom for fit in fits.values())
    n = sum(fit.samples for fit in fits.values())
    variance = cost / freedom if freedom > 0 else math.nan
    aic, bic = _criteria(measuring, fits, ends)
    parameters = _parameters(network, fits)
    covariance = _blocks(network, fits)
    sure = [i for i, label in enumerate(network.labels) if _error(parameters, label) is not None]
    return Fit(
        parameters=parameters,
        level=measuring.level,
        samples=n,
        freedom=freedom,
        cost=cost,
        reduced=known(variance),
        deviation=known(math.sqrt(variance)) if variance >= 0 else None,
        r2=None if isinstance(measuring.loss, Likelihood) else explained(ends),
        aic=aic,
        bic=bic,
        covariance=covariance,
        correlations=correlations([[covariance[i][j] or 0.0 for j in sure] for i in sure]),
        runs_test=None,
        absolute=measuring.absolute,
        weight=sum(end.weight * end.n for end in ends) / max(n, 1),
        stopped=measuring.stopped,
        steps=measuring.steps,
        profile=_profile(fits),
        bootstrap=_bootstrap(fits),
        warnings=_warnings(network, fits),
        groups=tuple(_of_group(name, fit) for name, fit in fits.items()),
    )


def _warnings(network: FormulaNetwork, fits: Mapping[str, Fit]) -> tuple[str, ...]:
    """What the fits of the groups warn of, each with its group before it."""
    return tuple(f"{network.formula.by}={name}: {warning}" for name, fit in fits.items() for warning in fit.warnings)


def _of_group(name: str, fit: Fit) -> OfGroup:
    """The line of a group: how well its own curve fits."""
    return OfGroup(
        name=name,
        samples=fit.samples,
        cost=fit.cost,
        r2=fit.r2,
        freedom=fit.freedom,
        reduced=fit.reduced,
        weight=fit.weight,
        weights=fit.weights,
    )


def _criteria(
    measuring: Measuring, fits: Mapping[str, Fit], ends: Sequence[Ended]
) -> tuple[float | None, float | None]:
    """AIC and BIC of all groups as one: their residuals, where their size is not known, have one variance."""
    n = sum(end.n for end in ends)
    k = n - sum(fit.freedom for fit in fits.values())
    if not measuring.absolute:
        # The one variance is a parameter, too.
        return criteria(sum(end.cost for end in ends), n, sum(end.logs for end in ends), k + 1, absolute=False)
    aic = sum(fit.aic or 0.0 for fit in fits.values())
    # BIC has log n in the place of AIC's 2, for each parameter.
    return aic, aic + k * (math.log(n) - 2)


def _parameters(network: FormulaNetwork, fits: Mapping[str, Fit]) -> tuple[Parameter, ...]:
    """Each parameter of each group; a fixed one once."""
    found = []
    for label, value in network.recorded().items():
        # `b[A]` is the b of group A.
        name, _, rest = label.partition("[")
        fit = fits.get(rest.removesuffix("]")) if name in network.own else None
        of_group = next((each for each in fit.parameters if each.name == name), None) if fit else None
        note = "fixed" if name not in network.own else "no samples"
        found.append(
            replace(of_group, name=label) if of_group else Parameter(name=label, value=float(value.detach()), note=note)
        )
    return tuple(found)


def _error(parameters: Sequence[Parameter], label: str) -> float | None:
    return next(each.error for each in parameters if each.name == label)


def _blocks(network: FormulaNetwork, fits: Mapping[str, Fit]) -> _Matrix:
    """The covariance of all numbers, which is 0 between those of two groups."""
    n = len(network.groups)
    matrix: list[list[float | None]] = [[0.0] * len(network.labels) for _ in network.labels]
    for g, group in enumerate(network.groups):
        for i in range(len(network.own)):
            for j in range(len(network.own)):
                # The columns of one parameter stand together, a group after the other.
                matrix[i * n + g][j * n + g] = fits[group].covariance[i][j] if group in fits else None
    return tuple(map(tuple, matrix))


def _profile(fits: Mapping[str, Fit]) -> dict[str, tuple[float | None, float | None]] | None:
    """The intervals of all groups."""
    found = {
        f"{parameter}[{name}]": ends for name, fit in fits.items() for parameter, ends in (fit.profile or {}).items()
    }
    return found or None


def _bootstrap(fits: Mapping[str, Fit]) -> dict[str, Any] | None:
    """What the resampled fits of all groups say."""
    found = {name: fit.bootstrap for name, fit in fits.items() if fit.bootstrap}
    if not found:
        return None
    first = next(iter(found.values()))
    merged = {
        key: {f"{parameter}[{name}]": value for name, each in found.items() for parameter, value in each[key].items()}
        for key in ("errors", "intervals")
    }
    return {**first, "failed": sum(each["failed"] for each in found.values()), **merged}
