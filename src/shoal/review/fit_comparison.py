"""`shoal compare` of fits: which formula the data speak for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from shoal.review.entries import RunEntry
from shoal.tails import chi2_beyond, f_beyond

_CHANCE = "that the further parameters gain so much by chance"
_KINDS = {"targets": "targets", "loss": "losses"}
_WEIGHTS = ("absolute", "weight", "weights")
_MEASURES = ("cost", "freedom", "reduced", "r2", "aic", "bic")


def fits(entries: Sequence[RunEntry]) -> list[Mapping[str, Any]]:
    """What run.json says of the fits, where all of the runs are some."""
    found = [entry.info.fit if entry.info else None for entry in entries]
    return [] if any(fit is None for fit in found) else [fit for fit in found if fit]


def measures(entries: Sequence[RunEntry]) -> list[tuple[str, list[Any]]]:
    """Costs and criteria side by side; the weight of a fit is how likely AIC makes it among these (Akaike, 1978)."""
    found = fits(entries)
    rows = [(name, [fit[name] for fit in found]) for name in _MEASURES]
    criteria = [fit["aic"] for fit in found]
    # Of other samples it would be how likely it is that they are fewer.
    if any(value is None for value in criteria) or _incomparable(entries):
        return rows
    # Relative to the best: exp(-AIC / 2) itself may be too small for a number.
    shares = [math.exp((min(criteria) - value) / 2) for value in criteria]
    return [*rows, ("weight by AIC", [share / sum(shares) for share in shares])]


def _incomparable(entries: Sequence[RunEntry]) -> str:
    """Why nothing of these fits can be compared."""
    found = fits(entries)
    digests = {entry.info.digest for entry in entries if entry.info}
    # Of one table the seed may have drawn other rows for the training.
    if len(digests) > 1 or any(len({fit.get(key) for fit in found}) > 1 for key in ("samples", "drawn")):
        return "not of the same samples"
    differs = (what for key, what in _KINDS.items() if len({str(fit.get(key)) for fit in found}) > 1)
    return next((f"of different {what}" for what in differs), "")


def verdict(names: Sequence[str], entries: Sequence[RunEntry]) -> list[str]:
    """What can be said in words: whether the fits can be compared, and for two of them a test.

    It is the F test; where the size of the errors is known, or the loss is a likelihood, that of the likelihood ratio.
    """
    found = fits(entries)
    problem = _incomparable(entries)
    if problem:
        return [f"the fits are {problem}: their criteria and costs cannot be compared"]
    if len({str([fit.get(key) for key in _WEIGHTS]) for fit in found}) > 1:
        return ["the fits weigh their samples differently: AIC and BIC can be compared, and no costs"]
    if len(found) != 2:
        return []
    if found[0]["freedom"] == found[1]["freedom"]:
        # From two starts one formula may have come to one end.
        same = math.isclose(found[0]["cost"], found[1]["cost"], rel_tol=1e-9)
        return (
            []
            if same
            else ["as many parameters in both: neither is a special case of the other, and AIC is what tells"]
        )
    (small, smaller), (large, larger) = sorted(
        # The more degrees of freedom, the fewer parameters.
        zip(names, found, strict=True),
        key=lambda pair: -int(pair[1]["freedom"]),
    )
    first, second = smaller["freedom"] - larger["freedom"], larger["freedom"]
    gain = smaller["cost"] - larger["cost"]
    if gain < 0:
        return [
            f"{large} has more parameters and a larger cost: {small} is no special case, or {large} not at its best"
        ]
    if smaller["absolute"] and larger["absolute"]:
        test = f"chi-square({first}) = {gain:.4g}, p {chi2_beyond(gain, first):.3g}"
        return [f"likelihood ratio, if {small} is a special case of {large}: {test} {_CHANCE}"]
    if second < 1 or larger["cost"] <= 0:
        return []
    # What each further parameter gains, over the variance that the larger formula leaves.
    f = gain / first / (larger["cost"] / second)
    test = f"F({first}, {second}) = {f:.4g}, p {f_beyond(f, first, second):.3g}"
    return [f"F test, if {small} is a special case of {large}: {test} {_CHANCE}"]
