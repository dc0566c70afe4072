"""An epoch of a stack: batch by batch, every run takes its step with its own settings, or stands still."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from shoal.engines.stack.clipping import row_norms
from shoal.engines.stack.epoch_history import EpochHistory
from shoal.engines.stack.moving import sent
from shoal.engines.stack.objects import Objects
from shoal.engines.stack.stack import Divergence, Stack
from shoal.engines.stack.update import ProgrammedUpdate, Update
from shoal.engines.stack.whole_epoch import Known, PlannedStep, WholeEpoch
from shoal.optimizers.rule import Column
from shoal.optimizers.squares import Problem
from shoal.step.clock import Clock
from shoal.step.exact import remembered
from shoal.step.exact.rows import same_bits
from shoal.step.mapped import Mapped


@dataclass
class Training:
    """Takes the steps of a stack. It holds nothing but scratch memory."""

    stack: Stack
    mapped: Mapped
    update: Update = field(default_factory=Update)
    accumulate: int = 1
    """Batches whose gradients are added up for one optimizer step; the last batches of an epoch may be fewer."""
    problem: Callable[[Stack, Any], Problem] | None = None
    """The residuals of a batch, for a rule that solves."""

    def __post_init__(self) -> None:
        # Where the guard of the update lets these runs not train together, this raises InexactError.
        stack = self.stack
        self._views = stack.views()
        self._grads = torch.zeros_like(stack.params) if stack.grads is None else stack.grads
        self._grad_views = stack.layout.views(self._grads)
        self.last: Tensor | None = None
        """The gradients by which the last step was taken; None before one, and where a rule takes others."""
        self._known: Known = {}  # of the steps' programs
        self._known_columns: dict[frozenset[int], Tensor] = {}
        self._updating = self._solve if stack.rule.solves else self.update.of(stack, self._grads)
        self._objects = self._updating if isinstance(self._updating, Objects) else None
        if self._objects:
            self._objects.losses = self._losses_again
        guard = self.update.guard
        self._norms = guard.function("norm of the gradient", row_norms, self._grads)
        # Only their form matters here: the guard tries the clippings on numbers of its own as well.
        norms = row_norms(self._grads)
        self._clippings = [
            (guard.function(f"clipping of the gradient's {name}", by, self._grads, norms, limits), limits)
            for name, by, limits in stack.limits.clippings(self._grads)
        ]

    def rehearse(self, batch: Any, clock: Clock) -> None:
        """Have everything ready for a step like this that is not when this is made: nothing.

        Raises:
            InexactError: where the guard lets these runs not train together.
        """

    def epoch(
        self,
        batches: Iterable[Any],
        lrs: Sequence[Column],
        clock: Clock,
        *,
        n_batches: int,
        first: int = 0,
        stop: Callable[[], bool] = lambda: False,
    ) -> EpochHistory:
        """Train on the batches, whose tensors have the runs as their first dimension.

        `lrs` gives each optimizer step's learning rates; the last one stands for all that follow. The `first` batches
        of the `n_batches` are done. Before each optimizer step `stop` is asked whether the ones before were the last;
        once in a while, where batches in a list have their steps taken at once.
        """
        # All steps at once: on a device each step's would be a transfer, which costs as much as the step.
        numbers = self._numbers(lrs, math.ceil((n_batches - first) / self.accumulate))
        whole = self._whole(batches, numbers, clock) if isinstance(batches, list) else None
        history = self._at_once(whole, clock, stop) if whole else None
        if history is not None:
            return history
        return self._by_steps(batches, numbers, clock, n_batches=n_batches, first=first, stop=stop)

    def _by_steps(
        self,
        batches: Iterable[Any],
        numbers: Sequence[tuple[Column, ...]],
        clock: Clock,
        *,
        n_batches: int,
        first: int = 0,
        stop: Callable[[], bool] = lambda: False,
    ) -> EpochHistory:
        self._history = history = EpochHistory()
        epoch, _, step = clock.now
        if self._objects:
            self._objects.begin()
        for number, batch in enumerate(batches, first):
            # Not in between, where gradients of a step that has begun would be lost.
            if number % self.accumulate == 0 and stop():
                break
            clock.set(epoch, number, step)
            # For objects that ask for the loss of this batch again within their step.
            self._batch, self._clock = batch, clock
            self._gradient(batch, clock, history, add=number % self.accumulate > 0)
            if (number + 1) % self.accumulate == 0 or number + 1 == n_batches:
                # A norm is noted at each step, so there are as many as steps before this one.
                self._update(numbers[len(history.norms)], history)
                step += 1
                if self._objects:
                    self._objects.stepped(number)
        if self._objects:
            self._objects.end(over=len(history.losses) == n_batches - first)
        asks = self._objects and self._objects.rule.asks
        self.last = None if self.stack.rule.solves or asks else self._grads
        clock.set(epoch + 1, 0, step)
        return history.fetch(self.stack.device)

    def _whole(self, batches: list[Any], numbers: Sequence[tuple[Column, ...]], clock: Clock) -> WholeEpoch | None:
        """The steps of an epoch as one; None where they cannot be, or more is done between them."""
        stack, update = self.stack, self._updating
        between = self.accumulate > 1 or stack.averages or self.mapped.unreached
        if between or not isinstance(update, ProgrammedUpdate) or not update.program.compiled or not all(stack.active):
            return None
        given = self.mapped.given(self._views, stack.buffers, batches, clock) or ()
        steps = [PlannedStep(batch, *each, own) for batch, each, own in zip(batches, given, numbers, strict=False)]
        return WholeEpoch.of(stack, self._grads, update, steps, self._known) if steps else None

    def _at_once(self, whole: WholeEpoch, clock: Clock, stop: Callable[[], bool]) -> EpochHistory | None:
        """What its steps give; None, and all is as before, where they have to be taken one by one."""
        known, (epoch, _, step) = self.update.exact, clock.now
        if whole.name not in known:
            known[whole.name] = remembered.known(whole.digest) or self._agrees(whole, clock)
        history = whole.take(stop) if known[whole.name] else None
        if history is not None:
            if history.losses:
                self._clipped(whole.last, self._norms(whole.last), history)
                self.last = whole.last
            clock.set(epoch + 1, 0, step + len(history.losses))
        return history

    def _agrees(self, whole: WholeEpoch, clock: Clock) -> bool:
        """Whether steps taken at once give the bits of steps taken one by one; all is as before."""
        now, some = clock.now, whole.some_of_each()
        at_once = some.take()
        if at_once is None:
            return False
        found = [*at_once.tensors(), self._norms(some.last), *some.copied()]
        some.put_back()
        batches = [each.batch for each in some.steps]
        history = self._by_steps(batches, [each.numbers for each in some.steps], clock, n_batches=len(batches))
        expected = [*history.tensors(), history.norms[-1], *some.copied()]
        some.put_back()
        clock.set(*now)
        exact = all(map(same_bits, found, expected))
        if exact:
            remembered.keep(whole.digest)
        return exact

    def _gradient(self, batch: Any, clock: Clock, history: EpochHistory, *, add: bool) -> None:
        """Put the gradients of a batch in their matrix, or add them to it; stop runs whose loss is not finite."""
        stack = self.stack
        result = self.mapped(self._views, stack.buffers, batch, clock)
        result.check(stack.active)
        # Into the rows of one matrix: norms, clipping and the rule are then one operation for everything.
        torch._foreach_add_(self._grad_views, result.grads) if add else torch._foreach_copy_(
            self._grad_views, result.grads
        )
        history.note(result, batch)
        # One sum for all runs; which of them it is, is only asked where there is one.
        if not all_finite(result.losses):
            self._stop(result.losses.isfinite(), "loss", history)
        stack.take_buffers(result.buffers)

    def _numbers(self, lrs: Sequence[Column], n_steps: int) -> list[tuple[Column, ...]]:
        """What the rule needs of each of the epoch's steps, for the rows that take them all."""
        stack = self.stack
        columns = torch.stack([lrs[min(step, len(lrs) - 1)] for step in range(n_steps)])
        numbers = stack.rule.of_steps(stack.settings, columns, [done + 1 for done in stack.steps], stack.params.dtype)
        return sent(numbers, stack.device)

    def _update(self, numbers: tuple[Column, ...], history: EpochHistory) -> None:
        norms = self._norms(self._grads)
        if not all_finite(norms):
            # By the numbers themselves: of finite ones that are large the norm may overflow.
            self._stop(self._grads.isfinite().all(dim=1), "gradient", history)
        self._clipped(self._grads, norms, history)
        if self._objects:
            self._objects.first = history.losses[-1]
        for row, active in enumerate(self.stack.active):
            self.stack.steps[row] += active
        # They stay the same: a step that reaches others is refused.
        with self._left_as_they_are(self.mapped.unreached or frozenset()):
            self._updated(numbers)
        self.stack.average()

    def _updated(self, numbers: tuple[Column, ...]) -> None:
        if all(self.stack.active):
            self._updating(numbers)
        elif any(self.stack.active):
            self._step_of_some(numbers)

    def _columns_of(self, places: frozenset[int]) -> Tensor:
        """The columns of parameters in these places."""
        if places not in self._known_columns:
            self._known_columns[places] = self.stack.layout.columns(places).to(self.stack.device)
        return self._known_columns[places]

    @contextmanager
    def _left_as_they_are(self, unreached: frozenset[int]) -> Iterator[None]:
        """Leave parameters alone that no gradient reaches: torch's optimizers neither decay nor move them."""
        stack = self.stack
        # Where a module optimizes by hand, the step before may have left others.
        if self._objects and (unreached or stack.grads is not None):
            self._objects.leave(unreached)
        if not unreached or stack.rule.solves:
            yield
            return
        columns = self._columns_of(unreached)
        # A state of one column is a number of the run, not of its parameters.
        matrices = [stack.params, *(each for each in stack.state.values() if each.shape[1] > 1)]
        # Places in a tensor give copies, which the step in between does not reach.
        before = [each[:, columns] for each in matrices]
        yield
        for each, kept in zip(matrices, before, strict=True):
            each[:, columns] = kept

    def _losses_again(self, rows: list[int]) -> Tensor:
        """The losses of the batch within a step, its gradients put in their places, and the buffers of these rows."""
        stack = self.stack
        result = self.mapped(self._views, stack.buffers, self._batch, self._clock)
        result.check(stack.active)
        torch._foreach_copy_(self._grad_views, result.grads)
        for name, value in result.buffers.items():
            # Not of all rows: those that ask no more keep what their last question left.
            if value is not stack.buffers[name]:
                stack.buffers[name][rows] = value[rows]
        norms = self._norms(self._grads)
        if self._clippings:
            self._clip(self._grads, norms)
        self._history.again(rows, result, norms, self._norms(self._grads))
        return result.losses

    def _clip(self, grads: Tensor, norms: Tensor) -> None:
        if self._objects and self._objects.rule.asks:
            self._objects.clip()
            return
        for clip, limits in self._clippings:
            clip(grads, norms, limits)

    def _clipped(self, grads: Tensor, norms: Tensor, history: EpochHistory) -> None:
        """Clip gradients of these norms, where they are to be, and note the norms of before and after."""
        history.norms.append(norms)
        if self._clippings:
            self._clip(grads, norms)
            history.clipped_norms.append(self._norms(grads))

    def _solve(self, numbers: tuple[Column, ...]) -> None:
        """The step of a rule that looks at residuals; it sees the parameters without gaps between them."""
        del numbers
        assert self.problem is not None
        stack = self.stack
        places = stack.layout.columns()
        settings = sent(stack.rule.prepared(stack.settings, stack.params.dtype), stack.device)
        state = {name: value[:, places] for name, value in stack.state.items()}
        params, state = stack.rule.solve(stack.params[:, places], state, settings, self.problem(stack, self._batch))
        stack.params[:, places] = params
        for name, value in state.items():
            stack.state[name][:, places] = value

    def _step_of_some(self, numbers: tuple[Column, ...]) -> None:
        """The step of the active rows: the others are put back as they were."""
        stack = self.stack
        still = torch.tensor([row for row, active in enumerate(stack.active) if not active])
        changing = [stack.params, *stack.state.values()]
        before = [each[still] for each in changing]
        # The update of all rows, which was compared with that of a run alone: one of fewer would be another program.
        self._updating(numbers)
        for each, kept in zip(changing, before, strict=True):
            each[still] = kept

    def _stop(self, finite: Tensor, what: str, history: EpochHistory) -> None:
        """Freeze the active rows that are not finite."""
        stack = self.stack
        for row, good in enumerate(finite.tolist()):
            if stack.active[row] and not good:
                stack.active[row] = False
                norms = [norm for norm in (float(each[row]) for each in history.norms) if math.isfinite(norm)]
                stack.diverged[row] = Divergence(stack.steps[row], what, max(norms, default=None))


def all_finite(values: Tensor) -> bool:
    """Whether the sum of all elements is finite: a sum that overflows counts as not finite, too."""
    return math.isfinite(float(values.sum()))


def evaluate(stack: Stack, mapped: Mapped, loaders: Sequence[Iterable[Any]], clock: Clock) -> EpochHistory:
    """The step of every run on each batch of each data loader, without gradients; what it writes to buffers stays."""
    history = EpochHistory()
    views = stack.views()
    for batches in clock.in_turn(loaders):
        for number, batch in enumerate(batches):
            clock.set(clock.now[0], number, clock.now[2])
            result = mapped(views, stack.buffers, batch, clock)
            result.check(stack.active)
            history.note(result, batch)
            history.outputs.extend(result.outputs)
            stack.take_buffers(result.buffers)
    return history.fetch(stack.device)
