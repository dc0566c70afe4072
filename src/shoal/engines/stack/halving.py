"""Successive halving inside a stack: at each rung the best of the runs go on, and the others stop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge


@dataclass(frozen=True, kw_only=True)
class Halving:
    """Of n runs that stand on a rung the best ceil(n / factor) go on.

    The rungs are reached after `min_epochs`, `min_epochs * factor`, `min_epochs * factor**2`, ... epochs.
    Source: Jamieson and Talwalkar, Non-stochastic best arm identification and hyperparameter optimization, 2016.
    A stack is one bracket: its runs are compared with each other, whatever other stacks do meanwhile.
    """

    factor: Annotated[int, Ge(2)]
    min_epochs: Annotated[int, Ge(1)] = 1

    def rung(self, number: int) -> int:
        """The epochs that a run has done when it stands on rung `number`, from 0."""
        return self.min_epochs * int(self.factor**number)

    def losers(self, values: Mapping[int, float], mode: Literal["min", "max"]) -> dict[int, str]:
        """The runs that stop, each with the reason, given every run's value of the metric; nan is the worst value."""
        sign = 1 if mode == "min" else -1
        # nan compares with nothing, so it is told first. Between equals the number decides, not the order they come in.
        order = sorted(values, key=lambda run: (math.isnan(values[run]), sign * values[run], run))
        n, kept = len(order), math.ceil(len(order) / self.factor)
        return {
            run: f"place {place} of {n}, of which {kept} go on" for place, run in enumerate(order, 1) if place > kept
        }
