"""An epoch of a stack: batch by batch, every run takes its step with its own settings, or stands still."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils import _pytree as pytree

from shoal.engines.stack.clipping import row_norms
from shoal.engines.stack.moving import fetched, sent
from shoal.engines.stack.objects import Objects
from shoal.engines.stack.stack import Divergence, Stack
from shoal.engines.stack.update import Update
from shoal.engines.step.clock import Clock
from shoal.engines.step.filled import LATEST
from shoal.engines.step.mapped import Mapped
from shoal.optimizers.rule import Column
from shoal.optimizers.squares import Problem


@dataclass
class EpochHistory:
    """What the steps of an epoch gave, in their order; one value for every row of the stack."""

    losses: list[Float[Tensor, " runs"]] = field(default_factory=list)
    logged: list[dict[str, Tensor]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    """Samples of each batch."""
    norms: list[Float[Tensor, " runs"]] = field(default_factory=list)
    """Norm of the gradient before clipping, for each optimizer step."""
    clipped_norms: list[Float[Tensor, " runs"]] = field(default_factory=list)
    """Norm of the gradient after clipping, where there is any."""
    outputs: list[Float[Tensor, "runs batch ..."]] = field(default_factory=list)
    """What the steps returned, where it is kept."""

    def log(self, logged: dict[str, Tensor]) -> None:
        """Add what a step logged; of what the last step's alone counts, that of the step before is let go."""
        for name in logged if self.logged else ():
            if name.startswith(LATEST):
                self.logged[-1].pop(name, None)
        self.logged.append(logged)

    def fetch(self, device: torch.device) -> EpochHistory:
        """Have them in main memory; they are on this device."""
        vars(self).update(fetched(vars(self), device))
        return self


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
        self._grads = torch.zeros_like(stack.params)
        self._grad_views = stack.layout.views(self._grads)
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
        of the `n_batches` are done. Before each optimizer step `stop` is asked whether the ones before were the last.
        """
        history = EpochHistory()
        epoch, _, step = clock.now
        n_steps = math.ceil((n_batches - first) / self.accumulate)
        # All steps at once: on a device each step's would be a transfer, which costs as much as the step.
        numbers = self._numbers(lrs, n_steps)
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
        clock.set(epoch + 1, 0, step)
        return history.fetch(self.stack.device)

    def _gradient(self, batch: Any, clock: Clock, history: EpochHistory, *, add: bool) -> None:
        """Put the gradients of a batch in their matrix, or add them to it; stop runs whose loss is not finite."""
        stack = self.stack
        result = self.mapped(self._views, stack.buffers, batch, clock)
        result.check(stack.active)
        # Into the rows of one matrix: norms, clipping and the rule are then one operation for everything.
        torch._foreach_add_(self._grad_views, result.grads) if add else torch._foreach_copy_(
            self._grad_views, result.grads
        )
        history.losses.append(result.losses)
        history.log(result.logged)
        history.sizes.append(_n_samples(batch))
        # One sum for all runs; which of them it is, is only asked where there is one.
        if not _all_finite(result.losses):
            self._stop(result.losses.isfinite(), "loss", history)
        self._take_buffers(result.buffers)

    def _take_buffers(self, new: dict[str, Tensor]) -> None:
        stack = self.stack
        # Mostly so; then there is nothing to choose between, and no copy is made.
        if all(stack.active):
            stack.buffers = new
            return
        active = torch.tensor(stack.active).to(stack.device)
        for name, value in new.items():
            mask = active.view(-1, *[1] * (value.dim() - 1))
            stack.buffers[name] = torch.where(mask, value, stack.buffers[name])

    def _numbers(self, lrs: Sequence[Column], n_steps: int) -> list[tuple[Column, ...]]:
        """What the rule needs of each of the epoch's steps, for the rows that take them all."""
        stack = self.stack
        columns = torch.stack([lrs[min(step, len(lrs) - 1)] for step in range(n_steps)])
        numbers = stack.rule.of_steps(stack.settings, columns, [done + 1 for done in stack.steps], stack.params.dtype)
        return sent(numbers, stack.device)

    def _update(self, numbers: tuple[Column, ...], history: EpochHistory) -> None:
        norms = self._norms(self._grads)
        if not _all_finite(norms):
            # By the numbers themselves: of finite ones that are large the norm may overflow.
            self._stop(self._grads.isfinite().all(dim=1), "gradient", history)
        history.norms.append(norms)
        if self._clippings:
            self._clip(norms)
            history.clipped_norms.append(self._norms(self._grads))
        if self._objects:
            self._objects.first = history.losses[-1]
        for row, active in enumerate(self.stack.active):
            self.stack.steps[row] += active
        with self._left_as_they_are():
            if all(self.stack.active):
                self._updating(numbers)
            elif any(self.stack.active):
                self._step_of_some(numbers)
        self.stack.average()

    @cached_property
    def _unreached(self) -> Tensor:
        """The columns of what no gradient reaches. They stay the same: a step that reaches others is refused."""
        return self.stack.layout.columns(self.mapped.unreached or ()).to(self.stack.device)

    @contextmanager
    def _left_as_they_are(self) -> Iterator[None]:
        """Leave parameters alone that no gradient reaches: torch's optimizers neither decay nor move them."""
        stack, unreached = self.stack, self.mapped.unreached
        if not unreached or stack.rule.solves:
            yield
            return
        if self._objects:
            self._objects.leave(unreached)
        columns = self._unreached
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
        if self._clippings:
            self._clip(self._norms(self._grads))
        return result.losses

    def _clip(self, norms: Tensor) -> None:
        for clip, limits in self._clippings:
            clip(self._grads, norms, limits)

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


def _n_samples(batch: Any) -> int:
    """The length of the first tensor of each run's batch, as Lightning counts samples."""
    lengths = (leaf.shape[1] for leaf in pytree.tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.dim() > 1)
    return int(next(lengths, 1))


def _all_finite(values: Tensor) -> bool:
    """Whether the sum of all elements is finite: a sum that overflows counts as not finite, too."""
    return math.isfinite(float(values.sum()))


def evaluate(stack: Stack, mapped: Mapped, loaders: Sequence[Iterable[Any]], clock: Clock) -> EpochHistory:
    """The step of every run on each batch of each data loader, without gradients; nothing of the stack changes."""
    history = EpochHistory()
    views = stack.views()
    for batches in clock.in_turn(loaders):
        for number, batch in enumerate(batches):
            clock.set(clock.now[0], number, clock.now[2])
            result = mapped(views, stack.buffers, batch, clock)
            result.check(stack.active)
            history.losses.append(result.losses)
            history.log(result.logged)
            history.sizes.append(_n_samples(batch))
            history.outputs.extend(result.outputs)
    return history.fetch(stack.device)
