"""Fits of formulas, by what is recorded of them."""

from __future__ import annotations

from typing import Any

import shoal


def fit_of(*words: str) -> dict[str, Any]:
    """What run.json says of the fit that these words train."""
    found = shoal.train([*words]).info.fit
    assert found is not None
    return found
