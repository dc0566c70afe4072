"""What `.grad` holds when backward is called again and again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from shoal.errors import UsageError
from shoal.gradcheck import points
from shoal.gradcheck.agreement import Agreement
from shoal.gradcheck.differentiated import function
from shoal.gradcheck.points import Written


@dataclass(frozen=True)
class Backward:
    """One call of backward."""

    function: str
    gradients: dict[str, Any]
    """Variable -> what its `.grad` holds after the call."""
    agrees: bool
    """Whether that is the sum of the derivatives of all calls so far."""


@dataclass(frozen=True)
class Accumulated(Agreement):
    """Gradients after each call, and after they are cleared."""

    at: str
    calls: tuple[Backward, ...]
    cleared: dict[str, Any]

    @property
    def agrees(self) -> bool:
        return all(call.agrees for call in self.calls)

    def text(self) -> str:
        """A line a call."""
        width = max(len(call.function) for call in self.calls)
        lines = [f"gradients at {self.at} after each backward, not cleared in between"]
        for number, call in enumerate(self.calls, start=1):
            wrong = "" if call.agrees else "  DISAGREES with the sum of the derivatives"
            lines.append(f"  {number}. {call.function:<{width}}  {_shown(call.gradients)}{wrong}")
        return "\n".join([*lines, f"  {'cleared':<{width + 3}}  {_shown(self.cleared)}"])


def accumulate(formulas: Sequence[str], *, at: Written, times: int = 1) -> Accumulated:
    """Call backward on each of `formulas` in turn (`times` over) without clearing gradients in between.

    Raises:
        ShoalError: where a formula or the point is not what it should be.
    """
    if not formulas or times < 1:
        raise UsageError("accumulation needs a formula, and backward to be called at least once")
    given = points.named(at, "at")
    made = [function(formula, list(given)) for formula in formulas]
    variables = tuple(dict.fromkeys(name for each in made for name in each.variables))
    leaves = {name: value.requires_grad_() for name, value in points.assigned(given, variables, "at").items()}
    total = {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    calls = []
    for each in made * times:
        used = {name: leaves[name] for name in each.variables}
        each.call(**used).sum().backward()  # type: ignore[no-untyped-call]
        for name in used:
            if each.formula:
                exact = each.formula.derivative(name)(**{key: leaf.detach() for key, leaf in used.items()})
                # A number that meets a vector has the sum of the derivatives of all its elements.
                total[name] += exact.sum_to_size(total[name].shape)
        # One that no function has used yet has none.
        held = {name: leaf.grad if leaf.grad is not None else torch.zeros_like(leaf) for name, leaf in leaves.items()}
        agrees = not each.formula or all(torch.allclose(held[name], total[name], rtol=1e-9) for name in held)
        calls.append(Backward(each.text, {name: value.tolist() for name, value in held.items()}, agrees))
    for leaf in leaves.values():
        # Zeros, and not None as `zero_grad` leaves by default: what a clearing leaves is to be seen.
        leaf.grad = torch.zeros_like(leaf)
    cleared = {name: leaf.grad.tolist() for name, leaf in leaves.items() if leaf.grad is not None}
    return Accumulated(points.shown({name: leaf.detach() for name, leaf in leaves.items()}), tuple(calls), cleared)


def _shown(gradients: dict[str, Any]) -> str:
    return points.shown({name: torch.tensor(value, dtype=torch.float64) for name, value in gradients.items()})
