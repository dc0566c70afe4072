"""The optimizer of Levenberg and Marquardt, which sees the residuals and not only their gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple, final

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from shoal.optimizers.optimizer import Optimizer
from shoal.optimizers.rule import Column, Matrix, Rule, State
from shoal.optimizers.squares import Damping, Problem, Tolerances, tried
from shoal.optimizers.squares.levenberg import COST, GRADIENT, RUNNING, STEP, STUCK

WHY = {
    GRADIENT: "gradient: the residuals stand at right angles to what any parameter changes",
    STEP: "step: the parameters change no more",
    COST: "cost: no more can be gained",
    STUCK: "no step, however short, makes the cost smaller",
}
"""Why a fit has stopped, in words that begin with the tolerance."""
_STATE = ("factor", "growth", "scale", "length", "stopped")


@dataclass(frozen=True, kw_only=True)
class LevenbergMarquardt(Optimizer):
    """Levenberg-Marquardt (Marquardt, 1963), its parameters scaled, its steps bent (Transtrum & Sethna, 2012).

    One step an epoch, of all samples. It stops by the first of its tolerances that is met.
    """

    gradient: Annotated[float, Ge(0)] = 1e-14
    """Stop where the cosine between the residuals and every column of the Jacobian is at most this."""
    step: Annotated[float, Ge(0)] = 1e-12
    """Stop where a step changes no parameter by more than this share of it."""
    cost: Annotated[float, Ge(0)] = 1e-26
    """Stop where a step can make the cost smaller by no more than this share of it."""
    damping: Annotated[float, Gt(0)] = 1e3
    """Damping of the first step: the greater, the shorter and nearer to the gradient it is."""
    acceleration: bool = True
    """Give steps a second order, so that they follow a valley that bends."""
    lr: ClassVar[float] = 1.0

    def alone(self, params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return Solver(params, self)

    def stacked(self) -> Rule[Any]:
        return StackedLevenbergMarquardt()


class Solver(torch.optim.Optimizer):
    """The steps of one run. `problem` gives the residuals of the batch that the closure was called for."""

    problem: Callable[[], Problem]

    def __init__(self, params: Iterable[nn.Parameter], settings: LevenbergMarquardt) -> None:
        super().__init__(params, {"lr": settings.lr, **{name: getattr(settings, name) for name in _Settings._fields}})

    @property
    def stopped(self) -> str | None:
        """Why it has stopped, once it has."""
        return _why(float(next(iter(self.state.values()))["stopped"])) if self.state else None

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step, or only find that there is none; the loss before it."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        [group] = self.param_groups
        trained = [param for param in group["params"] if param.requires_grad]
        params, state = self._gathered(trained)
        settings = _Settings(*(params.new_full((2,), float(group[name])) for name in _Settings._fields))
        params, state = _stepped(self.problem(), params, state, settings)
        for i, param in enumerate(trained):
            param.copy_(params[0, i])
            self.state[param] = {name: value[0, i].clone() for name, value in state.items()}
        return loss

    def _gathered(self, trained: list[nn.Parameter]) -> tuple[Tensor, State]:
        """Parameters and state as two equal rows: a single one would be summed by other kernels."""
        params = torch.stack([param.detach() for param in trained])[None].repeat(2, 1)
        if not self.state:
            return params, _fresh(params)
        found = {name: torch.stack([self.state[param][name] for param in trained]) for name in _STATE}
        return params, {name: value[None].repeat(2, 1) for name, value in found.items()}


class _Settings(NamedTuple):
    gradient: Tensor
    step: Tensor
    cost: Tensor
    damping: Tensor
    acceleration: Tensor


@final
@dataclass(frozen=True)
class StackedLevenbergMarquardt(Rule[_Settings]):
    """The same over a stack, each run with its own damping. Every parameter is one number."""

    settings = _Settings._fields
    state = _STATE
    counts_steps = False
    solves = True

    def init(self, params: Matrix) -> State:
        return _fresh(params)

    def prepared(self, settings: Mapping[str, Column], dtype: torch.dtype) -> _Settings:
        return _Settings(*(settings[name][:, 0].to(dtype) for name in _Settings._fields))

    def update(
        self, params: Matrix, grads: Matrix, state: State, settings: _Settings, step: tuple[Column, ...]
    ) -> None:
        raise AssertionError("it is `solve` that takes its steps")

    def solve(self, params: Matrix, state: State, settings: _Settings, problem: Problem) -> tuple[Matrix, State]:
        return _stepped(problem, params, state, settings)

    def stopped(self, state: State, row: int) -> str | None:
        return _why(float(state["stopped"][row, 0]))


def why_stopped(state: Mapping[int, Mapping[str, Any]]) -> str | None:
    """Why a fit has stopped, from the "state" of its optimizer's state dict; None for any other optimizer's."""
    codes = [float(each["stopped"]) for each in state.values() if "stopped" in each]
    return _why(codes[0]) if codes else None


def _fresh(params: Tensor) -> State:
    damping = Damping.fresh(params)
    columns = {name: value[:, None] if value.dim() == 1 else value for name, value in damping._asdict().items()}
    return {**{name: each.expand_as(params).clone() for name, each in columns.items()}, "stopped": 0 * params}


def _stepped(problem: Problem, params: Tensor, state: State, settings: _Settings) -> tuple[Tensor, State]:
    """A step of every row: new parameters and new state, each of (runs, params)."""
    damping = Damping(state["factor"][:, 0], state["growth"][:, 0], state["scale"], state["length"][:, 0])
    found = tried(
        problem,
        params,
        damping,
        Tolerances(settings.gradient, settings.step, settings.cost),
        initial=settings.damping,
        accelerated=settings.acceleration > 0,
    )
    kept = found.damping._asdict() | {"stopped": found.stopped.to(params.dtype)}
    columns = {name: value[:, None] if value.dim() == 1 else value for name, value in kept.items()}
    return found.params, {name: value.expand_as(params) for name, value in columns.items()}


def _why(code: float) -> str | None:
    return None if int(code) == RUNNING else WHY[int(code)]
