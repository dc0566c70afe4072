"""The optimizer of Levenberg and Marquardt, which sees the residuals and not only their gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple, final

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from shoal.optimizers.optimizer import Optimizer
from shoal.optimizers.rule import Column, Matrix, Rule, State
from shoal.optimizers.squares import Damping, Problem, Tolerances, columns_of_runs, rows_of_fits, tried
from shoal.optimizers.squares.levenberg import RUNNING
from shoal.optimizers.stopping import Stopping, why

_STATE = ("factor", "growth", "scale", "length", "ended", "stopped")


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


class Solver(Stopping):
    """The steps of one run. `problem` gives the residuals of the batch that the closure was called for."""

    problem: Callable[[], Problem]

    def __init__(self, params: Iterable[nn.Parameter], settings: LevenbergMarquardt) -> None:
        super().__init__(params, {"lr": settings.lr, **{name: getattr(settings, name) for name in _Settings._fields}})

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
        # For two equal rows: see `_gathered`.
        settings = _Settings(*(params.new_full((2,), float(group[name])) for name in _Settings._fields))
        params, state = _stepped(self.problem(), params, state, settings)
        sizes = [param.numel() for param in trained]
        parts = {name: torch.split(value[0], sizes) for name, value in state.items()}
        for i, (param, values) in enumerate(zip(trained, torch.split(params[0], sizes), strict=True)):
            param.copy_(values.view_as(param))
            # By parameter, as torch's optimizers have it: what keeps and loads their states asks for nothing else.
            self.state[param] = {name: part[i].view_as(param).clone() for name, part in parts.items()}
        return loss

    def _gathered(self, trained: list[nn.Parameter]) -> tuple[Tensor, State]:
        """Parameters and state as two equal rows: a single one would be summed by other kernels."""
        params = _row([param.detach() for param in trained])
        if not self.state:
            return params, _fresh(params)
        return params, {name: _row([self.state[param][name] for param in trained]) for name in _STATE}


def _row(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts])[None].repeat(2, 1)


class _Settings(NamedTuple):
    gradient: Tensor
    step: Tensor
    cost: Tensor
    damping: Tensor
    acceleration: Tensor


@final
@dataclass(frozen=True)
class StackedLevenbergMarquardt(Rule[_Settings]):
    """Levenberg-Marquardt over a stack: each run, or each of the fits in one, has a damping of its own."""

    settings = _Settings._fields
    state = _STATE
    counts_steps = False
    solves = True

    def init(self, params: Matrix) -> State:
        return _fresh(params)

    def prepared(self, settings: Mapping[str, Column], dtype: torch.dtype) -> _Settings:
        # From (runs, 1) to (runs,): the steps are of whole runs, not of parameters.
        return _Settings(*(settings[name][:, 0].to(dtype) for name in _Settings._fields))

    def update(
        self, params: Matrix, grads: Matrix, state: State, settings: _Settings, step: tuple[Column, ...]
    ) -> None:
        raise AssertionError("it is `solve` that takes its steps")

    def solve(self, params: Matrix, state: State, settings: _Settings, problem: Problem) -> tuple[Matrix, State]:
        return _stepped(problem, params, state, settings)

    def stopped(self, state: State, row: int) -> str | None:
        return why(float(state["stopped"][row, 0]))


def _fresh(params: Tensor) -> State:
    # A number of a run stands at each of its parameters: torch keeps state by parameter, a stack in matrices.
    found = {name: _beside(value).expand_as(params).clone() for name, value in Damping.fresh(params)._asdict().items()}
    return {**found, "ended": 0 * params, "stopped": 0 * params}


def _stepped(problem: Problem, params: Tensor, state: State, settings: _Settings) -> tuple[Tensor, State]:
    """A step of every run: new parameters and new state, each of (runs, params)."""
    n = problem.fits
    rows = {name: rows_of_fits(value, n) for name, value in state.items()}
    before = rows_of_fits(params, n)
    damping = Damping(rows["factor"][:, 0], rows["growth"][:, 0], rows["scale"], rows["length"][:, 0])
    settings = _Settings(*(each.repeat_interleave(n) for each in settings))
    found = tried(
        problem,
        before,
        damping,
        Tolerances(settings.gradient, settings.step, settings.cost),
        initial=settings.damping,
        accelerated=settings.acceleration > 0,
    )
    # Of the fits of a run some end before others.
    still = (rows["ended"][:, 0] != RUNNING) & (n > 1)
    ended = torch.where(still, rows["ended"][:, 0], found.stopped.to(params.dtype))
    of_runs = ended.view(-1, n)
    # Of fits that ended for several reasons the one that tells least of a minimum is given.
    stopped = torch.where((of_runs == RUNNING).any(1), RUNNING, of_runs.amax(1)).to(params.dtype)
    kept = damping.where(still, found.damping)._asdict() | {"ended": ended}
    columns = {name: columns_of_runs(_beside(value).expand_as(before), n) for name, value in kept.items()}
    moved = columns_of_runs(torch.where(still[:, None], before, found.params), n)
    return moved, {**columns, "stopped": stopped[:, None].expand_as(params)}


def _beside(value: Tensor) -> Tensor:
    return value[:, None] if value.dim() == 1 else value
