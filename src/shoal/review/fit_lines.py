"""What a terminal shows of the fit of a formula in run.json."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def fit_lines(fit: Mapping[str, Any]) -> Iterator[str]:
    """The lines that a terminal shows of a fit in run.json."""
    yield from _table(fit)
    if fit["reduced"] is not None:
        chi = "reduced chi-square" if fit["absolute"] else "variance of the residuals"
        yield f"{chi} {fit['reduced']:.6g}, with {fit['freedom']} degrees of freedom of {fit['samples']} samples"
    measures = {
        title: fit[key] for key, title in (("r2", "R2"), ("aic", "AIC"), ("bic", "BIC")) if fit[key] is not None
    }
    if measures:  # none where the targets do not vary, and nothing is left of them
        yield ", ".join(f"{title} {value:.6g}" for title, value in measures.items())
    if fit["runs_test"] is not None:
        # At one in a hundred: of twenty fits that are right one would be called odd at one in twenty.
        odd = "; the formula may miss something" if fit["runs_test"] < 0.01 else ""
        yield f"signs of the residuals: p {fit['runs_test']:.2g} that they are random{odd}"
    if fit.get("normality") is not None:
        # Nothing is advised to who has a robust loss already.
        heeding = "; outliers? loss=soft_l1 heeds them less" if fit.get("loss") in (None, "", "mse") else "; outliers?"
        odd = heeding if fit["normality"] < 0.01 else ""
        yield f"sizes of the residuals: p {fit['normality']:.2g} that they are normal{odd}"
    yield from _of_groups(fit.get("groups", ()))
    yield from _correlated(fit)
    yield from _profiled(fit.get("profile"), fit["level"])
    yield from _resampled(fit.get("bootstrap"), fit["level"])
    if fit["stopped"]:
        yield f"stopped after {fit['steps']} steps by {fit['stopped']}"
    yield from (f"warning: {warning}" for warning in fit["warnings"])


def _table(fit: Mapping[str, Any]) -> Iterator[str]:
    rows = fit["parameters"]
    width = max(len("parameter"), *(len(row["name"]) for row in rows))
    yield f"{'parameter':<{width}}  {'value':>16}  {'standard error':>14}  {100 * fit['level']:g} % interval"
    for row in rows:
        line = f"{row['name']:<{width}}  {row['value']:>16.10g}  "
        if row["error"] is None:
            yield f"{line}{row['note'] or '-':>14}"
        else:
            yield f"{line}{row['error']:>14.6g}  {row['low']:.7g} to {row['high']:.7g}"


def _of_groups(groups: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """How well the formula fits each group."""
    if not groups:
        return
    width = max(len("group"), *(len(group["name"]) for group in groups))
    yield f"{'group':<{width}}  {'samples':>7}  {'cost':>12}  {'variance':>12}  R2"
    for group in groups:
        variance = "-" if group["reduced"] is None else f"{group['reduced']:.6g}"
        r2 = "-" if group["r2"] is None else f"{group['r2']:.6g}"
        yield f"{group['name']:<{width}}  {group['samples']:>7}  {group['cost']:>12.6g}  {variance:>12}  {r2}"


def _profiled(found: Mapping[str, Sequence[float | None]] | None, level: float) -> Iterator[str]:
    """The intervals by the profile likelihood."""
    if not found:
        return
    yield f"profile likelihood, {100 * level:g} %"
    for name, (low, high) in found.items():
        ends = ["-inf" if low is None else f"{low:.7g}", "inf" if high is None else f"{high:.7g}"]
        yield f"  {name}  from {ends[0]} to {ends[1]}"


def _resampled(found: Mapping[str, Any] | None, level: float) -> Iterator[str]:
    """What the bootstrap says of each parameter."""
    if not found:
        return
    failed = f", {found['failed']} of which came to no end" if found["failed"] else ""
    yield f"bootstrap of {found['resampling']}, {found['samples']} fits{failed}"
    for name, (low, high) in found["intervals"].items():
        yield f"  {name}  {found['errors'][name]:.6g}  {100 * level:g} % from {low:.7g} to {high:.7g}"


def _correlated(fit: Mapping[str, Any]) -> Iterator[str]:
    """The largest correlations, where they are large enough to matter."""
    names = [row["name"] for row in fit["parameters"] if row["error"] is not None]
    pairs = [
        (value, names[i], names[j])
        for i, line in enumerate(fit["correlations"])
        for j, value in enumerate(line[:i])
        if value is not None and math.isfinite(value)
    ]
    # The three strongest: of ten parameters there are 45.
    largest = sorted(pairs, key=lambda pair: -abs(pair[0]))[:3]
    if largest:
        yield "correlations: " + ", ".join(f"{b} and {a} {value:.4f}" for value, a, b in largest)
