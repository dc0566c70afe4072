"""An epoch of a stack whose modules optimize by hand: every run does what the script of its step says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from shoal.engines.stack.clipping import clip_norm, clip_values, row_norms
from shoal.engines.stack.epoch import Training, all_finite
from shoal.engines.stack.epoch_history import EpochHistory
from shoal.optimizers.rule import Column, Matrix
from shoal.step.clock import Clock
from shoal.step.hand import Event
from shoal.step.scripted import Script, Scripted
from shoal.step.stepped import Stepped


@dataclass
class TrainingByHand(Training):
    """Takes the steps of such a stack, each of its optimizers at its time."""

    mapped: Scripted  # type: ignore[assignment]

    def __post_init__(self) -> None:
        super().__post_init__()
        names = list(self.stack.layout.names)
        self._places = [[names.index(name) for name in own] for own in self.mapped.step.names]
        """Of each optimizer, those of its parameters."""
        columns = [self.stack.layout.columns(places) for places in self._places]
        # From the first to the last: between them are gaps alone, which are zero.
        self._columns = [slice(int(each.min()), int(each.max()) + 1) for each in columns]

    def rehearse(self, batch: Any, clock: Clock) -> None:
        """Have the clippings ready that a step at this time has; see `Mapped.rehearse`."""
        for event in self.mapped.script(self._views, self.stack.buffers, batch, clock).events:
            if event.kind == "clip":
                self._clipping(event)

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
        assert self._objects is not None
        self._objects.begin()
        for number, batch in enumerate(batches, first):
            if stop():
                break
            clock.set(epoch, number, step)
            # Of an epoch whose last batch has no step, nothing tells the norm of a gradient.
            history.norms.clear()
            script = self.mapped.script(self._views, self.stack.buffers, batch, clock)
            self._follow(script, batch, clock)
            step += sum(event.kind == "update" for event in script.events)
        self._objects.end(over=len(history.losses) == n_batches - first)
        self.mapped.unreached = frozenset(range(len(self._grad_views))) - self.stack.graded
        self.last = self._grads
        clock.set(epoch + 1, 0, step)
        return history.fetch(self.stack.device)

    def _follow(self, script: Script, batch: Any, clock: Clock) -> None:
        """Take a step of every run."""
        stack, older, parts = self.stack, list[dict[str, Tensor]](), iter(script.parts)
        found: Stepped | None = None

        def taken() -> Stepped:
            result = next(parts)(self._views, stack.buffers, batch, older, clock)
            result.check(stack.active)
            return result

        for event in script.events:
            if event.kind == "backward":
                found = taken()
                self._add(found)
            elif event.kind == "update":
                older.append({name: self._views[name].clone() for name in self.mapped.step.names[event.of]})
                self._update_by(event.of)
            else:
                self._between(event)
        last = taken() if len(script.parts) > sum(event.kind == "backward" for event in script.events) else found
        assert last is not None
        self._history.note(last._replace(losses=last.outputs[0]), batch)
        stack.take_buffers(last.buffers)

    def _add(self, result: Stepped) -> None:
        """Add gradients to those that are there."""
        torch._foreach_add_(self._grad_views, result.grads)
        self.stack.graded |= frozenset(range(len(result.grads))) - result.unreached
        if not all_finite(result.losses):
            self._stop(result.losses.isfinite(), "loss", self._history)

    def _between(self, event: Event) -> None:
        """What a step does to gradients, or to the settings of optimizers."""
        assert self._objects is not None
        if event.kind == "clear":
            self._grads[:, self._columns[event.of]] = 0
            self.stack.graded -= frozenset(self._places[event.of])
        elif event.kind == "clip":
            grads = self._grads[:, self._columns[event.of]]
            self._clipping(event)(grads)
        else:
            self._objects.schedule(event.of)

    def _clipping(self, event: Event) -> Callable[[Matrix], None]:
        """What clips the gradients of an optimizer."""
        guard, grads = self.update.guard, self._grads[:, self._columns[event.of]]
        limits = torch.full((len(grads), 1), event.limit, dtype=grads.dtype, device=grads.device)
        by = clip_values if event.how == "value" else clip_norm
        norms = guard.function("norm of an optimizer's gradient", row_norms, grads)
        clip = guard.function(f"clipping of an optimizer's gradient's {event.how}", by, grads, row_norms(grads), limits)
        return lambda grads: clip(grads, norms(grads), limits)

    def _update_by(self, optimizer: int) -> None:
        """A step of one of the optimizers."""
        stack, history, objects = self.stack, self._history, self._objects
        assert objects is not None
        norms = self._norms(self._grads)
        if not all_finite(norms):
            self._stop(self._grads[:, self._columns[optimizer]].isfinite().all(dim=1), "gradient", history)
        history.norms[:] = [norms]
        for row, active in enumerate(stack.active):
            stack.steps[row] += active
        own = frozenset(self._places[optimizer])
        self._updating = lambda numbers: objects.update(optimizer)
        with self._left_as_they_are(own - stack.graded):
            self._updated(())
