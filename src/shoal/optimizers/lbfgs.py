"""L-BFGS, which says when it has come to an end, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

import torch
from annotated_types import Ge
from torch import Tensor, nn

from shoal.optimizers.optimizer import Optimizer, Rate
from shoal.optimizers.rule import Rule
from shoal.optimizers.stopping import COST, GRADIENT, RUNNING, STEP, Stopping


@dataclass(frozen=True, kw_only=True)
class LBFGS(Optimizer):
    """Quasi-Newton steps of limited memory (Liu & Nocedal, 1989), some of them one after the other in every step.

    It stops by the first of its tolerances that is met, none of which has a unit; one of 0 never is.
    """

    lr: Rate = 1.0
    """Length of a step that no line search makes longer or shorter."""
    max_iter: Annotated[int, Ge(1)] = 20
    """Quasi-Newton steps within one."""
    history_size: Annotated[int, Ge(1)] = 100
    """Changes of the gradient that are remembered."""
    line_search_fn: Literal["strong_wolfe"] | None = "strong_wolfe"
    """How long a step is: by the conditions of Wolfe (1969), or `lr` times what it is; null for that."""
    gradient: Annotated[float, Ge(0)] = 1e-10
    """Stop where no parameter's slope, times its size, is more than this share of the steepest that there was."""
    step: Annotated[float, Ge(0)] = 1e-10
    """Stop where a step has changed no parameter by more than this share of it."""
    cost: Annotated[float, Ge(0)] = 1e-15
    """Stop where a step has changed the loss by no more than this share of it."""

    def alone(self, params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return StoppingLBFGS(params, self)

    def stacked(self) -> Rule[Any] | None:
        return None


class StoppingLBFGS(torch.optim.LBFGS, Stopping):
    """The steps of one run; the last of them only finds that there is none."""

    def __init__(self, params: Iterable[nn.Parameter], settings: LBFGS) -> None:
        super().__init__(
            params,
            lr=settings.lr,
            max_iter=settings.max_iter,
            # torch's own have the unit of the loss, and do not say when they end it; those of `_judged` do.
            tolerance_grad=0.0,
            tolerance_change=0.0,
            history_size=settings.history_size,
            line_search_fn=settings.line_search_fn,
        )
        self.param_groups[0].update(gradient=settings.gradient, step=settings.step, cost=settings.cost)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Take one step; the loss before it."""
        with torch.enable_grad():
            loss = closure()
        if self._judged(float(loss)) == RUNNING:
            self._prepare()
            losses: list[Any] = []

            def known() -> Any:
                # torch asks for the loss at the start once more: it is known, and its gradients are still there.
                losses.append(closure() if losses else loss)
                return losses[-1]

            super().step(known)  # type: ignore[no-untyped-call]
            # What the line search met: the loss of the point where it ended is among them (see `_of_the_same_samples`).
            self.state[self._params[0]]["losses"] = torch.tensor([float(each) for each in losses], dtype=torch.float64)
        return loss

    def _prepare(self) -> None:
        """Remember no more than is wanted now: a training may go on with other settings.

        Within a step torch's own tolerances, which have the loss's unit, keep float32 from following its rounding.
        """
        state, [group] = self.state[self._params[0]], self.param_groups
        double = self._params[0].dtype == torch.float64
        group.update(tolerance_grad=0.0 if double else 1e-7, tolerance_change=0.0 if double else 1e-9)
        size = group["history_size"]
        state.update({name: state[name][-size:] for name in ("old_dirs", "old_stps", "ro") if name in state})
        # A list to work in, which torch makes once, as long as the history then was.
        state.pop("al", None)

    def _judged(self, loss: float) -> int:
        """Whether the step before was the last one; what the next call has to know of this one is kept."""
        state, [group] = self.state[self._params[0]], self.param_groups
        now = torch.cat([param.detach().reshape(-1) for param in self._params])
        # Torch's own, which has zeros for parameters without a gradient.
        gradient = cast(Tensor, self._gather_flat_grad())  # type: ignore[no-untyped-call]
        stopped = RUNNING
        moved = (now - state.get("before", now)).abs()
        # Times a parameter's size a slope has the unit of the loss; that of one at 0 is how far it has just moved.
        slope = float((gradient * now.abs().maximum(moved)).abs().max())
        steepest = max(slope, float(state.get("steepest", 0.0)))
        if "before" in state and self._of_the_same_samples(loss):
            before = float(state["before_loss"])
            if group["cost"] and abs(before - loss) <= group["cost"] * abs(before):
                stopped = COST
            # The second term lets parameters stop that come to 0.
            if group["step"] and bool((moved <= group["step"] * (now.abs() + group["step"])).all()):
                stopped = STEP
            if group["gradient"] and slope <= group["gradient"] * steepest:
                stopped = GRADIENT
        numbers = {"before_loss": loss, "steepest": steepest, "stopped": float(stopped)}
        # In the state, and not beside it: it goes into checkpoints, and a resumed run stops where it would have.
        state["before"] = now
        state.update({name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()})
        return stopped

    def _of_the_same_samples(self, loss: float) -> bool:
        """Whether the loss is one that was met in the step before: of other samples nothing has come to an end."""
        met = self.state[self._params[0]].get("losses")
        return met is not None and bool((met == loss).any())
