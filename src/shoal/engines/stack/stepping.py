"""Finds out how a stack can be stepped by its runs' own optimizer objects, by trying some steps of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from shoal.engines.stack.by_objects import ByObjects, Kinds, common
from shoal.engines.stack.clipping import GradientLimits
from shoal.engines.stack.closures import asks
from shoal.engines.stack.objects import Objects
from shoal.engines.stack.parameter_layout import Layout
from shoal.engines.stack.run_optimizer import RunOptimizer, UnfitError, attributes
from shoal.engines.stack.stack import Stack
from shoal.errors import brief
from shoal.seeding import torch_state
from shoal.step.exact.rows import same_bits

STEPS = 12
"""Steps that are tried: what begins later than the first (a warm-up, a second kind of update) begins within them."""
OTHERS = "the optimizers of torch.optim, and most others, stack"
"""What to take where an optimizer cannot step a stack."""
ROWS = 3
"""Runs that are tried, whose gradients are of different sizes."""


def fitted(own: RunOptimizer, params: Sequence[Tensor], *, accumulate: int = 1) -> ByObjects:
    """How runs with optimizers like this one are stepped in a stack, to the bit as each is alone.

    `params` are those of one run, in the optimizer's order, where a stack has them; of so many batches gradients are
    added up for a step.

    Raises:
        UnfitError: where no way is.
    """
    if accumulate > 1 and asks(own.optimizer):
        raise UnfitError(
            f"{own.called} asks for the loss again, and that of {accumulate} batches is no step's alone",
            "trainer.accumulate_grad_batches=1 and larger batches stack",
        )
    try:
        return _fitted(own, params)
    except UnfitError:
        raise
    except Exception as error:  # whatever an optimizer of anybody's does
        raise UnfitError(f"{own.called} cannot step a stack ({brief(error)})", OTHERS) from error


def _fitted(own: RunOptimizer, params: Sequence[Tensor]) -> ByObjects:
    ways = [ByObjects(whole=False, asks=True)] if asks(own.optimizer) else _ways(own, params[0])
    alone = [_alone(own, params, row) for row in range(ROWS)]
    for way in ways:
        try:
            found = _stacked(own, params, way)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError):
            if way.whole:  # it wants parameters of a certain shape
                continue
            raise
        if all(
            same_bits(mine, other)  # a step that goes too far in both has gone the same way
            for each, row in zip(found, alone, strict=True)
            for mine, other in zip(each, row, strict=True)
        ):
            return way
    before = torch_state()
    _alone(own, params, 0)
    if not torch.equal(torch_state(), before):
        raise UnfitError(f"{own.called} draws random numbers, which would be others in a stack", OTHERS)
    raise UnfitError(f"{own.called} gives other weights in a stack than alone", OTHERS)


def _ways(own: RunOptimizer, like: Tensor) -> list[ByObjects]:
    """The ways in which objects that are given gradients may step, the cheapest first."""
    kinds = _kinds(own, like)
    return [*([ByObjects(whole=True, kinds=kinds)] if kinds is not None else []), ByObjects(whole=False)]


def _sloped(params: Sequence[Tensor], towards: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """A loss for an optimizer that asks for it again, and its gradients: it is least at the parameters `towards`."""
    off = [param.detach() - other for param, other in zip(params, towards, strict=True)]
    return torch.stack([(each**4).sum() for each in off]).sum(), [4 * each**3 for each in off]


def _begun(params: Sequence[Tensor], row: int) -> tuple[list[Tensor], list[list[Tensor]]]:
    """First weights like those of a run, and gradients for each step; some are zero, as for what is never used."""
    generator = torch.Generator().manual_seed(row)

    def drawn(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)

    weights = [drawn(each) for each in params]
    # Tenfold from run to run: an optimizer that takes one norm over all rows is found out by it.
    return weights, [[drawn(each).relu() * 10.0 ** (row - 1) for each in params] for _ in range(STEPS)]


def _alone(own: RunOptimizer, params: Sequence[Tensor], row: int) -> list[Tensor]:
    weights, steps = _begun(params, row)
    values = iter([nn.Parameter(each) for each in weights])
    groups = [[next(values) for _ in names] for names in own.names]
    flat = [each for group in groups for each in group]
    made = own.over(groups)
    for param, old in zip(flat, own.weights, strict=True):
        begun = own.begun.get(old, {})  # which it may have before any step
        made.state[param].update({name: _placed(value, param) for name, value in begun.items()})
    made.state.update(copy.deepcopy(common(own.begun)))
    _training(made)
    called, kept = False, list[dict[str, Any]]()
    for grads in steps:
        for param, grad in zip(flat, grads, strict=True):
            param.grad = grad

        def closure(towards: Sequence[Tensor] = grads) -> Any:
            nonlocal called
            called = True
            if not asks(made):
                return 1.0
            loss, slopes = _sloped(flat, towards)
            for param, slope in zip(flat, slopes, strict=True):
                param.grad = slope
            return loss

        made.step(closure)
        kept.append(attributes(made))
    if not called:
        raise UnfitError(
            f"{own.called} does not call the closure that Lightning gives it, and would learn from nothing",
            "its step has to call it first",
        )
    # Not from before the first: what is worked out there, as how many numbers there are, stays.
    changed = next((name for name, value in kept[0].items() if value != kept[-1].get(name)), None)
    if changed:
        raise UnfitError(f"{own.called} counts in its attribute {changed}", "what it keeps in its state goes along")
    return [each.detach() for each in flat]


def _placed(value: Any, param: Tensor) -> Any:
    """A copy of what is kept beside a parameter, where that is."""
    return value.to(param.device, copy=True) if isinstance(value, Tensor) else copy.deepcopy(value)


def _stacked(own: RunOptimizer, params: Sequence[Tensor], rule: ByObjects) -> list[list[Tensor]]:
    begun = [_begun(params, row) for row in range(ROWS)]
    names = [name for group in own.names for name in group]
    layout = Layout.of(dict(zip(names, params, strict=True)))
    matrix = layout.matrix([weights for weights, _ in begun])
    # Of their own for each row: `keep` puts settings back that steps have changed.
    copied = [begun_anew(own) for _ in range(ROWS)]
    stack = Stack(
        layout,
        rule,
        matrix,
        {},
        rule.init(matrix),
        {},
        GradientLimits.of([None] * ROWS, [None] * ROWS),
        [0] * ROWS,
        [True] * ROWS,
        {},
        copied,
        [[] for _ in range(ROWS)],
    )
    grads = torch.zeros_like(matrix)
    for number in range(STEPS):
        if number % 5 == 0:  # as a new epoch
            objects = Objects(stack, rule, grads)
            objects.begin()
        grads.copy_(layout.matrix([steps[number] for _, steps in begun]))
        if rule.asks:
            objects.losses = partial(_losses, layout, matrix, grads, [steps[number] for _, steps in begun])
            objects.first = objects.losses([*range(ROWS)])
        objects(())
        stack.steps = [number + 1] * ROWS
        if number % 5 == 4:
            objects.keep()
    return [layout.parts(row) for row in matrix]


def _losses(
    layout: Layout, matrix: Tensor, grads: Tensor, towards: Sequence[Sequence[Tensor]], rows: list[int]
) -> Tensor:
    del rows
    found = [_sloped(layout.parts(row), there) for row, there in zip(matrix, towards, strict=True)]
    grads.copy_(layout.matrix([slopes for _, slopes in found]))
    return torch.stack([loss for loss, _ in found])


def begun_anew(own: RunOptimizer) -> RunOptimizer:
    """A fresh copy of the optimizer, as before its first step, which the caller may change."""
    found = copy.copy(own)
    found.optimizer = own.over(own.params)
    # The schedulers act on the object that this is a copy of.
    found.scheduled = []
    return found


def _training(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    if callable(getattr(optimizer, "train", None)):
        optimizer.train()  # type: ignore[attr-defined]
    return optimizer


def _kinds(own: RunOptimizer, like: Tensor) -> tuple[Kinds, ...] | None:
    """What the object keeps beside a parameter, by group; None where that is neither matrices nor single numbers.

    None also for one that keeps something beside no parameter.
    """
    # Of this shape only what is kept number by number is (3, 2); sums over rows or columns and the like are not.
    groups = [[nn.Parameter(torch.ones(3, 2, dtype=like.dtype, device=like.device))] for _ in own.names]
    try:
        made = _training(own.over(groups))
        for [param] in groups:
            param.grad = torch.ones_like(param)
        made.step()
    except (RuntimeError, ValueError):  # it wants parameters of a certain shape
        return None
    if common(made.state):
        return None
    found = [{name: _kind(value) for name, value in made.state[param].items()} for [param] in groups]
    if any(kind is Ellipsis for each in found for kind in each.values()):
        return None
    return tuple({name: kind for name, kind in each.items() if kind is not None} for each in found)


def _kind(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Tensor) and value.shape == (3, 2):
        return value.dtype
    return value.clone() if isinstance(value, Tensor) and value.numel() == 1 else Ellipsis
