"""The probe before the first epoch: does each run of a stack get there what its own training step would give it?

Whatever a step depends on beside parameters, buffers and batch (Python's state, attributes, unkeyed randomness) either
cannot be mapped, or shows as a difference. A run that differs trains alone, and the reason says where to look.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from shoal.engines.stack.moving import fetched
from shoal.engines.stack.stack import Stack
from shoal.engines.vectorized.probing.deciding import Deciding
from shoal.engines.vectorized.probing.failure_words import place_of, reason
from shoal.engines.vectorized.probing.leavings import Trial, state_of, unknown
from shoal.engines.vectorized.probing.own_step import Alone, by_itself, doubled
from shoal.engines.vectorized.probing.writes import Writes
from shoal.seeding import generators_restored, seed_global
from shoal.step.called import called
from shoal.step.captured import CapturedStep
from shoal.step.clock import Clock
from shoal.step.exact.rows import same_numbers
from shoal.step.left import Place, as_before, shown
from shoal.step.logged import WEIGHT
from shoal.step.mapped import Mapped
from shoal.step.step_trainer import switch
from shoal.step.stepped import Stepped
from shoal.step.unfit import AS_BUFFER, CannotStackError

log = logging.getLogger(__name__)

_TOLERANCE = {torch.float64: 1e-8}
_PART = {torch.float64: 1e-3}
"""Of a gradient, the part that each parameter's is compared as at least; a hundredth in float32."""
_MIXED = 1e-1
"""The tolerance where products are in bfloat16, which keeps eight bits: outputs of an MLP were seen to differ by 4 %. A
unit may be on in one of two sums and off in the other, so a gradient is compared as a whole."""
_TWICE = 4
"""Runs whose step is taken twice: they share their code, so what one of them draws all draw."""


def probe(
    stack: Stack,
    mapped: Mapped,
    modules: Sequence[pl.LightningModule],
    batch: Any,
    clock: Clock | None = None,
    *,
    rows: Sequence[int] | None = None,
) -> dict[int, str]:
    """For each run that cannot train in this stack, why; a run is a place in `modules`.

    `batch` is one of an epoch, at `clock`, its tensors with the runs as their first dimension; `mapped` is the training
    or the validation step, and `rows` are the runs to look at, all of them unless given. Nothing is changed by the
    probe: neither the stack nor the modules, nor any random generator.
    """
    looked = _Look(stack, mapped, batch, clock or Clock())
    with generators_restored():
        refused = isinstance(outside(mapped, batch, looked.clock, modules[0]), CannotStackError)
        try:
            # With all that containers hold: what is mapped is of no use outside of the mapping.
            with as_before(modules[0]), called([]) if refused else nullcontext():
                result = looked.together()
        except Exception as error:  # what a user's step does under vmap is not ours to foresee
            # Where it fails by itself as well, that says more than what becomes of it in the mapping.
            # Of those that are trained still: a step may have changed that.
            trained = {name for name, param in modules[0].named_parameters() if param.requires_grad}
            names = [name for name in looked.order if name in trained] if mapped.gradients else ()
            own = outside(mapped, batch, looked.clock, modules[0], names)
            cause = error if own is None or isinstance(own, CannotStackError) else own
            return dict.fromkeys(range(len(modules)), reason(cause, modules[0], looked.step))
    places = range(len(modules)) if rows is None else rows
    every, deciding = dict[int, str | None](), Deciding(modules)
    for n, row in enumerate(places):
        known = n >= _TWICE and deciding.are_known(row)
        trial = None if known else Trial(looked.step.left, settings=deciding.watch)
        every[row] = looked.difference(result, row, modules[row], trial, twice=n < _TWICE)
        if trial:
            deciding.note(row, trial.looked)
    found = {row: why for row, why in every.items() if why}
    return looked.beyond_rounding(found, modules) if found else {}


def still_alike(
    stack: Stack, mapped: Mapped, module: pl.LightningModule, row: int, batch: Any, clock: Clock
) -> str | None:
    """In what the step of the run in this row, whose module has its weights, differs from its own by now; or None."""
    looked = _Look(stack, mapped, batch, clock)
    with generators_restored():
        return looked.difference(looked.together(), row, module, None)


def outside(
    mapped: Mapped, batch: Any, clock: Clock, module: pl.LightningModule, names: Sequence[str] = ()
) -> Exception | None:
    """Take the step of the first run by itself: functions that keep what they make must not keep it from a mapping.

    Gives what it failed by, as by what no stack can follow; it will fail again where that is told. The gradient is
    taken, too, of parameters of these `names`.
    """
    assert isinstance(mapped.step, CapturedStep)
    own = pytree.tree_map(lambda leaf: leaf[0] if isinstance(leaf, Tensor) else leaf, batch)
    switch(module, training=bool(mapped.trains))
    weights = [param for param in module.parameters() if param.requires_grad]
    with as_before(module), _kept(weights), clock.alone(0, trains=bool(mapped.trains)):
        clock.enter(0)
        try:
            by_itself(mapped.step.like(module), own, clock, names)
        except Exception as error:
            return error
    return None


class _Look:
    """A step of a stack on one batch, beside the same step of each run alone."""

    def __init__(self, stack: Stack, mapped: Mapped, batch: Any, clock: Clock, *, double: bool = False) -> None:
        """If `double`, all numbers are taken in double precision."""
        self.stack, self.mapped, self.batch, self.clock, self.double = stack, mapped, batch, clock, double
        assert isinstance(mapped.step, CapturedStep)
        self.step: CapturedStep = mapped.step
        self.order = stack.layout.names
        """That of the parameters in which gradients come."""
        self.reached: dict[int, tuple[bool, ...]] = {}
        """The parameters that a run's own loss reaches."""

    def together(self) -> Stepped:
        """What the step gives for all runs."""
        given = self.stack.views(), self.stack.buffers, self.batch
        if self.double:
            params, buffers, batch = doubled(given)
            return fetched(self.mapped.anew(params, buffers, batch, self.clock), self.stack.device)
        return fetched(self.mapped(*given, self.clock), self.stack.device)

    def beyond_rounding(self, found: Mapping[int, str], modules: Sequence[pl.LightningModule]) -> dict[int, str]:
        """Those of the reasons that stand in double precision too.

        In single precision a unit may be on in one of two sums and off in the other, and part of a gradient with it.
        """
        if self.double or self.step.mixed or self.stack.params.dtype != torch.float32:
            return dict(found)
        exactly = _Look(self.stack, self.mapped, self.batch, self.clock, double=True)
        try:
            with generators_restored():
                result = exactly.together()
        except Exception as error:  # a step that insists on single precision
            log.debug("a step was not compared in double precision: %s", error)
            return dict(found)
        # A step that has weights from elsewhere, too, is not given them in double precision, and they are not reached.
        return {
            row: why
            for row, why in found.items()
            if exactly.difference(result, row, modules[row], Trial(self.step.left))
            or exactly.reached.get(row) != self.reached.get(row)
        }

    def difference(
        self, result: Stepped, row: int, module: pl.LightningModule, trial: Trial | None, *, twice: bool = False
    ) -> str | None:
        """In what a run's step differs from the same step alone, or None; tried `twice`, a draw is seen too.

        In a trial it is watched closely: so is what it does beside giving numbers.
        """
        mapped, clock, step = self.mapped, self.clock, self.step
        own = pytree.tree_map(lambda leaf: leaf[row] if isinstance(leaf, Tensor) else leaf, self.batch)
        alone = step.like(module)
        alone.closely = trial is not None
        names = self.order if mapped.gradients else ()
        alone.left = trial or step.left
        # Before anything is noted: the mode of each part is one of its attributes.
        switch(module, training=bool(mapped.trains))
        weights = [param for param in module.parameters() if param.requires_grad] if trial else []
        with generators_restored(), clock.alone(row, trains=bool(mapped.trains)):
            try:
                seed_global(0)
                clock.enter(row)
                with _kept(weights) as written:
                    first = by_itself(alone, own, clock, names, written.watch, double=self.double)
                self.reached[row] = first.reached
                agrees = clock.agrees(row)
                found = self._state(alone, own, row, first, trial, fully=twice) if trial else None
                alone.left = step.left
                unsteady = self._unsteady(alone, own, row, first) if twice and not found else None
            except Exception as error:  # the run's own failure; it will meet it again when it trains alone
                return reason(error, module, step)
        # Causes before symptoms: a step that changes an attribute may give another loss too, which says less.
        why = next(_causes(found, written, unsteady, agrees=agrees), None)
        why = why or next(self._symptoms(result, row, first), None)
        return f"{step.name} ({place_of(module, step)}) {why}" if why else None

    def _unsteady(self, alone: CapturedStep, batch: Any, row: int, first: Alone) -> str | None:
        """Why a run's step gives other numbers than `first` where it is taken again, or None."""

        def again(seed: int) -> list[Tensor]:
            seed_global(seed)
            self.clock.enter(row)
            return by_itself(alone, batch, self.clock, self.order if self.mapped.gradients else ()).numbers

        # From another seed: a step that draws from a global generator gives itself away by two results.
        if all(map(same_numbers, first.numbers, again(1))):
            return None
        if all(map(same_numbers, again(0), again(0))):
            return "draws from a global random generator: torch's functions draw for each run apart in a stack"
        return f"gives other numbers each time it is called: {AS_BUFFER}"

    def _symptoms(self, result: Stepped, row: int, alone: Alone) -> Iterator[str]:
        """What of a run's step comes out otherwise in the stack."""
        close = partial(_close, mixed=self.step.mixed)
        if set(alone.logged) != set(result.logged):
            yield "logs other metrics alone than in the stack"
            return
        numbers = [("gives another loss", result.losses[row], alone.loss)]
        for name, value in alone.logged.items():
            numbers.append((f"logs another {name.partition(WEIGHT)[0]}", result.logged[name][row], value))
        for what, mine, other in numbers:
            if not close(mine, other):
                yield (
                    f"{what} alone: {float(other):.6g}, in the stack {float(mine):.6g}; "
                    "it depends on more than parameters, buffers and the batch"
                )
        # Where gradients of several batches are added up, those of the stack are a share of the sum already.
        grads = [grad * self.mapped.share for grad in alone.grads]
        # A bias before a normalisation has a gradient of rounding alone: it is judged beside the whole gradient.
        whole = math.hypot(*(float(grad.norm()) for grad in grads))
        if not all(close(mine[row], other, beside=whole) for mine, other in zip(result.grads, grads, strict=True)):
            yield "gives another gradient alone than in the stack"
        if not all(close(result.buffers[name][row], other) for name, other in alone.buffers.items()):
            yield "leaves another state alone than in the stack"
        if not all(close(mine[row], other) for mine, other in zip(result.outputs, alone.outputs, strict=True)):
            yield "gives other outputs alone than in the stack"

    def _state(
        self, alone: CapturedStep, batch: Any, row: int, first: Alone, trial: Trial, *, fully: bool
    ) -> Place | None:
        """One of the attributes that a run's step has left that later steps depend on, or None."""
        known, names = self.step.left, self.order if self.mapped.gradients else ()
        if known.visible or not trial.left:
            return next(iter(trial.left), None)
        if not fully or self.double:
            return unknown(known, trial.left, None if self.double else batch)

        def take(factor: float, later: int) -> bool:
            seed_global(0)
            self.clock.enter(row)
            with self.clock.moved_on(later):
                again = by_itself(alone, batch, self.clock, names, factor=factor)
            return len(again.numbers) == len(first.numbers) and all(map(same_numbers, again.numbers, first.numbers))

        return state_of(alone, known, trial.left, batch, take)


def _causes(found: Place | None, written: Writes, unsteady: str | None, *, agrees: bool) -> Iterator[str]:
    """What a step does alone that no stack follows: it has left what was `found`, or is `unsteady`."""
    if found:
        yield f"changes {shown(found)}: {AS_BUFFER}"
    if written.found:
        yield "writes to weights that are trained: a hook of the epoch's end can, in a stack too"
    if unsteady:
        yield unsteady
    if not agrees:
        yield "draws random numbers of which others come before those of the next step"


@contextmanager
def _kept(params: Sequence[Tensor]) -> Iterator[Writes]:
    """Notes whether weights are written to, and has them be as they were."""
    if not params:
        yield Writes(params)
        return
    before, data = [param.detach().clone() for param in params], [param.data for param in params]
    with Writes(params) as written:
        yield written
    if written.found:
        for param, own, value in zip(params, data, before, strict=True):
            # Into the memory that it had: by .data a step may have given it other memory.
            param.data = own.copy_(value)


def _close(mine: Tensor, other: Tensor, *, beside: float = 0.0, mixed: bool = False) -> bool:
    """Whether two results differ by rounding alone; of what is not finite there is nothing to compare.

    Both are a part of something of the size `beside`: of a bias before a normalisation only rounding is left.
    """
    mine = mine.detach()  # weights that a step has from elsewhere bring their graph along
    if not (other.is_floating_point() or other.is_complex()):
        return torch.equal(mine.to(other.dtype), other)
    length, apart = float(other.norm()), float((mine.to(other.dtype) - other).norm())
    # Finite lengths are those of finite numbers, which most results are.
    if not (math.isfinite(apart) or (mine.isfinite().all() and other.isfinite().all())):
        return bool((mine.isfinite() == other.isfinite()).all())
    tolerance = _MIXED if mixed else _TOLERANCE.get(mine.dtype, 1e-3)
    part = 1.0 if mixed else _PART.get(mine.dtype, 1e-2)
    # Not smaller than the tolerance: of a result near zero a relative difference says nothing.
    return apart <= tolerance * max(length, part * beside, tolerance)
