"""Whether runs take their steps faster together than each by itself, measured before they train."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from shoal.engines.length import n_batches, n_of
from shoal.engines.stack.closures import asks
from shoal.engines.stack.gathered import for_validation, side_by_side
from shoal.engines.stack.steady import steady
from shoal.engines.stack.stepping import begun_anew
from shoal.engines.vectorized.probing.own_step import by_itself
from shoal.engines.vectorized.running import Running
from shoal.seeding import generators_restored
from shoal.step.by_hand import ByHandStep
from shoal.step.captured import CapturedStep
from shoal.step.clock import Clock
from shoal.step.logged import Stage
from shoal.step.mapped import Mapped
from shoal.step.scripted import Scripted
from shoal.step.shortest import shortest
from shoal.step.unfit import sentence

AROUND = 3e-4
"""Seconds that a step alone takes beside forward, backward and update: what Lightning does around it."""
MARGIN = 1.15
"""How much slower a stack must be: a program that runs for long is compiled, and then saves a fifth."""
TRIES = 3
FEWEST = 4
"""Runs of a stack for which it is worth measuring."""
Timed = tuple[int, Callable[[], object], Callable[[], object]]
"""How often an epoch takes a step, the step of all runs, and that of the first by itself."""


def slower(running: Running) -> str | None:
    """Why these runs are faster by themselves, with the figures; None where they are not. Nothing changes."""
    n = len(running.live)
    if n < FEWEST:
        return None
    together = alone = 0.0
    with steady(), generators_restored():
        for times, every, own in _steps(running):
            # Seconds of one run, both.
            together += times * shortest(every, TRIES) / n
            alone += times * (shortest(own, TRIES) + AROUND)
    if together <= MARGIN * alone:
        return None
    return sentence(
        f"an epoch takes {1e3 * together:.1f} ms a run in a stack of {n}, and {1e3 * alone:.1f} ms alone",
        "another sweep.block may do better",
    )


def _steps(running: Running) -> Iterator[Timed]:
    """That of the training, its update included, and that of each of the validation's data loaders."""
    stack, settings = running.stack, running.members[0].job.trainer
    sources = [running.members[run].job.sources() for run in running.filled]
    train = side_by_side([own for own, _ in sources], stack.device)
    for batch in train.epoch(0, end=1, dtype=stack.params.dtype):
        yield n_batches(settings, len(train)), _training(running, batch), _trained_alone(running, batch)
    clock, every = Clock(keys=running.keys), int(settings.get("check_val_every_n_epoch") or 1)
    for val in clock.in_turn(for_validation([own for _, own in sources], stack.device)):
        n = n_of(settings.get("limit_val_batches"), len(val)) // every
        for batch in val.epoch(0, end=1, dtype=stack.params.dtype) if n else ():
            # Within this turn of the clock, which knows of which data loader the batch is.
            yield n, partial(_evaluated, running, batch, clock), _by_itself(running, batch, "val", clock.loader)


def _training(running: Running, batch: Any) -> Callable[[], object]:
    """A whole step of a copy of the stack; of one that solves for its update, the gradients alone."""
    stack, steps = running.stack.select(range(len(running.stack))), running.steps
    if stack.rule.solves:
        mapped = steps.train
        assert isinstance(mapped, Mapped)
        return lambda: mapped(stack.views(), stack.buffers, batch, _clock(running))
    # They take note of what their steps change.
    stack.own = [begun_anew(each) for each in stack.own]
    training = steps.training(stack, running.accumulate)
    rates = torch.full((len(stack), 1), 1e-4, dtype=torch.float64)
    return lambda: training.epoch(iter([batch]), [rates], _clock(running), n_batches=1)


def _trained_alone(running: Running, batch: Any) -> Callable[[], object]:
    """The same of the first run by itself, whose weights stay as they are."""
    if isinstance(running.steps.train, Scripted):
        return _by_hand_alone(running, batch)
    gradients = _by_itself(running, batch, "train")
    if running.stack.rule.solves:
        return gradients
    optimizer, weights = _optimizer(running)
    if asks(optimizer):
        return partial(optimizer.step, _closure(running, batch, weights))

    def step() -> None:
        for param, grad in zip(weights, gradients().grads, strict=True):
            param.grad = grad.to(param)
        optimizer.step()

    return step


def _by_hand_alone(running: Running, batch: Any) -> Callable[[], object]:
    """The same of one that optimizes by hand, whose optimizers step together."""
    step, own, clock = _captured(running, batch, "train")
    assert isinstance(step, ByHandStep)
    step.takes = True
    optimizer, weights = _optimizer(running)
    named = dict(zip(running.stack.layout.names, weights, strict=True))

    def taken() -> None:
        with torch.enable_grad():
            step(named, step.held(), step.given(own), clock)
        for name, param in named.items():
            param.grad = step.hand.grads.get(name)
        optimizer.step()

    return taken


def _closure(running: Running, batch: Any, weights: Sequence[nn.Parameter]) -> Callable[[], Tensor]:
    """What an optimizer that asks for the loss again is given: that for the weights as they are, and its gradient."""
    step, own, clock = _captured(running, batch, "train")

    def closure() -> Tensor:
        loss = step(dict(zip(running.stack.layout.names, weights, strict=True)), step.held(), own, clock).loss
        for param, grad in zip(weights, torch.autograd.grad(loss, weights, allow_unused=True), strict=True):
            param.grad = torch.zeros_like(param) if grad is None else grad
        return loss.detach()

    return closure


def _optimizer(running: Running) -> tuple[torch.optim.Optimizer, list[nn.Parameter]]:
    """One like the first run's, over copies of its weights, which are in the order of the stack."""
    stack, job = running.stack, running.members[running.filled[0]].job
    weights = [nn.Parameter(each.clone()) for each in stack.layout.parts(stack.params[0])]
    if not stack.own:
        return job.optimizer.alone(weights), weights
    rest = iter(weights)
    made = stack.own[0].over([[next(rest) for _ in names] for names in stack.own[0].names])
    getattr(made, "train", lambda: None)()
    return made, weights


def _by_itself(running: Running, batch: Any, stage: Stage, loader: int | None = None) -> Callable[[], Any]:
    step, own, clock = _captured(running, batch, stage)
    clock.loader = loader
    return partial(by_itself, step, own, clock, running.stack.layout.names if stage == "train" else ())


def _captured(running: Running, batch: Any, stage: Stage) -> tuple[CapturedStep, Any, Clock]:
    """The step of the first run, and its batch."""
    own = pytree.tree_map(lambda leaf: leaf[0] if isinstance(leaf, Tensor) else leaf, batch)
    step = running.steps.captured[stage].like(running.members[running.filled[0]].module)
    step.closely = False  # which Lightning does not do
    # Without keys: it draws as Lightning has it draw.
    return step, own, Clock(running.epoch, 0, running.step)


def _evaluated(running: Running, batch: Any, clock: Clock) -> object:
    return running.steps.val(running.stack.views(), running.stack.buffers, batch, clock)


def _clock(running: Running) -> Clock:
    return Clock(running.epoch, 0, running.step, keys=running.keys)
