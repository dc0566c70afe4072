"""How far two predictions are apart."""

from __future__ import annotations

import torch
from torch import Tensor

_LEAST = 1e-12


def apart(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest that was expected; what is nan in both does not differ."""
    both = found.isnan() & expected.isnan()
    difference = torch.where(both, 0.0, (found.double() - expected.double()).abs())
    # Relative to the largest of all: an output near zero may differ in all of its digits.
    largest = torch.where(both, 0.0, expected.abs().double()).max().clamp_min(_LEAST)
    return float(difference.max() / largest)
