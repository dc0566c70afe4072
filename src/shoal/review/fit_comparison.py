"""`shoal compare` of fits: which formula the data speak for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from shoal.review.entries import RunEntry
from shoal.tails import f_beyond

_MEASURES = ("cost", "freedom", "reduced", "r2", "aic", "bic")


def fits(entries: Sequence[RunEntry]) -> list[Mapping[str, Any]]:
    """What run.json says of the fits, where all of the runs are some."""
    found = [entry.info.fit if entry.info else None for entry in entries]
    return [] if any(fit is None for fit in found) else [fit for fit in found if fit]


def measures(found: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Any]]]:
    """Costs and criteria side by side; the weight of a fit is how likely AIC makes it among these (Akaike, 1978)."""
    rows = [(name, [fit[name] for fit in found]) for name in _MEASURES]
    criteria = [fit["aic"] for fit in found]
    if any(value is None for value in criteria):
        return rows
    shares = [math.exp((min(criteria) - value) / 2) for value in criteria]
    return [*rows, ("weight by AIC", [share / sum(shares) for share in shares])]


def verdict(names: Sequence[str], entries: Sequence[RunEntry]) -> list[str]:
    """What can be said in words: whether the fits are of the same samples, and for two of them the F test."""
    found = fits(entries)
    digests = {entry.info.digest for entry in entries if entry.info}
    if len(digests) > 1 or len({fit["samples"] for fit in found}) > 1:
        return ["the fits are not of the same samples: their criteria and costs cannot be compared"]
    if len(found) != 2 or found[0]["freedom"] == found[1]["freedom"]:
        return []
    (small, smaller), (large, larger) = sorted(
        zip(names, found, strict=True), key=lambda pair: -int(pair[1]["freedom"])
    )
    first, second = smaller["freedom"] - larger["freedom"], larger["freedom"]
    gain = smaller["cost"] - larger["cost"]
    if second < 1 or gain < 0 or larger["cost"] <= 0:
        return []
    f = gain / first / (larger["cost"] / second)
    test = f"F({first}, {second}) = {f:.4g}, p {f_beyond(f, first, second):.3g}"
    return [f"F test, if {small} is a special case of {large}: {test} that the further parameters gain by chance"]
