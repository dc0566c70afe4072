"""The update of a stack by its runs' own optimizer objects, one for all neighboring runs of equal settings.

Such an object is given the runs' rows as one parameter a group, and its state is seen as matrices of the stack; what it
keeps beside a parameter as a single number is a column. One that acts on shapes or norms would not do to each run what
it does alone: then there is one for each run, over views of its row. Which of the two it is `fitted` finds out.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from shoal.engines.stack.by_objects import ByObjects, common
from shoal.engines.stack.closures import Losses, stepped
from shoal.engines.stack.parameter_layout import Layout
from shoal.engines.stack.run_optimizer import RunOptimizer
from shoal.engines.stack.stack import Stack
from shoal.optimizers import rate_of
from shoal.optimizers.rule import Column
from shoal.step.unfit import CannotStackError


class Objects:
    """Steps a stack by objects of its runs' optimizers; made anew for each epoch."""

    def __init__(self, stack: Stack, rule: ByObjects, grads: Tensor) -> None:
        self.stack = stack
        self.rule = rule
        self.grads = grads
        self.losses: Losses | None = None
        """What gives the losses, where the objects ask for them."""
        self.first = torch.zeros(len(stack))
        """The losses that are known when a step begins."""
        # Rows that fill up a stack share the last run's optimizer, whose schedulers must not step twice.
        self._owns = list({id(own): own for own in stack.own}.values())
        self._changing = any(own.changes_by_step for own in self._owns)
        self._parts = self._cut()

    def __call__(self, step: tuple[Column, ...]) -> None:
        """A step of every run."""
        del step
        if self.rule.asks:
            assert self.losses is not None
            steps = {part.first: part.object.step for part in self._parts if self.stack.active[part.first]}
            stepped(steps, self.first, self.losses)
            return
        for part in self._parts:
            part.step()

    def update(self, number: int) -> None:
        """A step of the optimizer of this number, which the module takes by hand, of every run."""
        for part in self._parts:
            part.update(number)
        for own in self._owns:
            own.used = rate_of(own.each[number])

    def schedule(self, number: int) -> None:
        """Let the scheduler of this number step, of every run."""
        self.keep()
        for own in self._owns:
            own.schedule(number)
        self._parts = self._recut()

    def stepped(self, batch: int) -> None:
        """Let the runs' schedulers follow the step that came after this batch."""
        if self._changing:
            self.keep()
        for own in self._owns:
            own.stepped(batch)
        if self._changing:
            self._parts = self._recut()

    def clip(self) -> None:
        """Clip the gradients of the runs as Lightning does, to the bit: a search for a step would follow any other."""
        for part in self._parts:
            part.clip()

    def leave(self, places: Collection[int]) -> None:
        """Give the objects no gradient of the parameters in these places.

        Raises:
            CannotStackError: for an object that has several runs as one parameter, and moves it between steps.
        """
        for part in self._parts:
            part.leave(places)

    def begin(self) -> None:
        """Let objects that tell training from evaluating train."""
        self._switch("train")

    def end(self, *, over: bool) -> None:
        """Keep what they have come to; once an epoch is over, let them evaluate."""
        if over:
            self._switch("eval")
        self.keep()

    def keep(self) -> None:
        """Have the stack, and the settings of its runs, be what the objects have come to."""
        for part in self._parts:
            part.keep()

    def _switch(self, name: str) -> None:
        for part in self._parts:
            for each in part.objects:
                if callable(getattr(each, name, None)):
                    getattr(each, name)()

    def _cut(self) -> list[_Part]:
        keys = [own.key() for own in self.stack.own]
        if not self.rule.whole:
            return [_Apart(self, row, row + 1) for row in range(len(keys))]
        # Neighbors only: a parameter for several rows must be a slice of the matrix, so that steps write to the stack.
        starts = [row for row in range(len(keys)) if row == 0 or keys[row] != keys[row - 1]]
        return [_Whole(self, a, b) for a, b in zip(starts, [*starts[1:], len(keys)], strict=True)]

    def _recut(self) -> list[_Part]:
        """The same objects where the runs of each still agree, under their new settings."""
        keys = [own.key() for own in self.stack.own]
        if any(len(set(keys[part.first : part.end])) > 1 for part in self._parts):
            return self._cut()
        for part in self._parts:
            part.set(self.stack.own[part.first].groups)
        return self._parts


class _Part:
    """Rows that are stepped by the same objects."""

    def __init__(self, whole: Objects, first: int, end: int) -> None:
        self.stack, self.rule = whole.stack, whole.rule
        self.first, self.end = first, end
        self.own = self.stack.own[first]
        layout = self.stack.layout
        self.params = [
            [_parameter(value, grad) for value, grad in zip(*pair, strict=True)]
            for pair in zip(self._views(self.stack.params, layout), self._views(whole.grads, layout), strict=True)
        ]
        self.object = self.own.over(self.params)
        self.objects = [self.object]

    def _views(self, matrix: Tensor, layout: Layout) -> list[list[Tensor]]:
        """What of a matrix of the stack the object is given, by group."""
        raise NotImplementedError

    def clip(self) -> None:
        """Clip the gradients of these rows, by torch's own functions."""
        flat = [param for group in self.params for param in group]
        norm, value = (float(each[self.first]) for each in (self.stack.limits.norm, self.stack.limits.value))
        if math.isfinite(norm):
            nn.utils.clip_grad_norm_(flat, norm)
        if math.isfinite(value):
            nn.utils.clip_grad_value_(flat, value)

    def leave(self, places: Collection[int]) -> None:
        """Leave the parameters in these places alone."""

    def step(self) -> None:
        """A step of these rows."""
        self.object.step()

    def update(self, number: int) -> None:
        """A step of one of the optimizers."""
        self.object.parts[number].step()  # type: ignore[attr-defined]

    def set(self, groups: Sequence[Mapping[str, Any]]) -> None:
        """Go on under other settings."""
        for mine, new in zip(self.object.param_groups, groups, strict=True):
            mine.update(copy.deepcopy(dict(new)))

    def keep(self) -> None:
        """Have the stack hold what the object has come to."""
        for own in {id(each): each for each in self.stack.own[self.first : self.end]}.values():
            # Without the parameters, which are the stack's rows: a deep copy would copy them, too.
            own.take(copy.deepcopy([{**group, "params": ()} for group in self.object.param_groups]))


class _Whole(_Part):
    """An object for neighboring rows, whose parameters and state are views of the stack's."""

    def __init__(self, whole: Objects, first: int, end: int) -> None:
        super().__init__(whole, first, end)
        self._seen = [self._matrices(place) for place in range(len(self.params))]
        # Before its first step an object has to find no state, by which it knows that it has to begin.
        for place, [param] in enumerate(self.params):
            if self.rule.has_begun(place, self.stack.state, first, self.stack.steps[first]):
                numbers = self.rule.numbers_of(place, self.stack.state, first)
                self.object.state[param] = {**self._seen[place], **numbers}

    def _views(self, matrix: Tensor, layout: Layout) -> list[list[Tensor]]:
        return [[matrix[self.first : self.end, begin:stop]] for begin, stop in _columns(self.own, layout)]

    def leave(self, places: Collection[int]) -> None:
        # One that tells training from evaluating moves all its parameters when it is switched, outside of any step.
        if places and self.own.switches:
            raise CannotStackError(
                f"does not reach all parameters with its gradient, which {self.own.called} looks at",
                "parameters that are not used can be left out of it",
            )

    def _matrices(self, place: int) -> dict[str, Tensor]:
        """The state's matrices as the object sees them, of one of its groups."""
        begin, stop = _columns(self.own, self.stack.layout)[place]
        names = self.rule.matrices_of(place)
        return {name: self.stack.state[name][self.first : self.end, begin:stop] for name in names}

    def step(self) -> None:
        self.object.step()
        self._take_state(range(len(self.params)))

    def update(self, number: int) -> None:
        super().update(number)
        self._take_state(self.rule.groups_of(number))
        self.stack.state[self.rule.steps_of(number)][self.first : self.end] += 1

    def _take_state(self, places: Iterable[int]) -> None:
        for [param], seen in ((self.params[place], self._seen[place]) for place in places):
            state = self.object.state[param]
            for name, view in seen.items():
                if state[name] is not view:
                    view.copy_(state[name])  # one that it has made anew
                    state[name] = view

    def keep(self) -> None:
        super().keep()
        # The object counts on for all its rows; one that stands still keeps the count that it stopped with.
        rows = torch.tensor([row for row in range(self.first, self.end) if self.stack.active[row]], dtype=torch.int64)
        for place, [param] in enumerate(self.params):
            for name, column in self.rule.columns_of(place).items():
                if name in self.object.state[param]:
                    self.stack.state[column][rows, 0] = float(self.object.state[param][name])


class _Apart(_Part):
    """An object for a single row, over views of each of its parameters."""

    def __init__(self, whole: Objects, first: int, end: int) -> None:
        super().__init__(whole, first, end)
        flat = [param for group in self.params for param in group]
        self._grads = [param.grad for param in flat]
        # Nothing is kept before the first step: the list is empty then.
        for param, state in zip(flat, self.stack.kept[first], strict=False):
            self.object.state[param] = dict(state)
        beside_none: Any = self.stack.kept[first][len(flat) :]
        self.object.state.update(*beside_none)

    def _views(self, matrix: Tensor, layout: Layout) -> list[list[Tensor]]:
        parts = iter(layout.parts(matrix[self.first]))
        return [[next(parts) for _ in names] for names in self.own.names]

    def leave(self, places: Collection[int]) -> None:
        flat = [param for group in self.params for param in group]
        for place, (param, grad) in enumerate(zip(flat, self._grads, strict=True)):
            # torch's optimizers pass over what has no gradient; of a zero they would decay it and move it on.
            param.grad = None if place in places else grad

    def step(self) -> None:
        if self.stack.active[self.first]:
            self.object.step()

    def update(self, number: int) -> None:
        if self.stack.active[self.first]:
            super().update(number)

    def keep(self) -> None:
        if self.stack.active[self.first]:
            super().keep()
            flat = [param for group in self.params for param in group]
            kept = [dict(self.object.state[param]) for param in flat]
            self.stack.kept[self.first] = [*kept, common(self.object.state)]


def _parameter(value: Tensor, grad: Tensor) -> nn.Parameter:
    found = nn.Parameter(value)
    found.grad = grad
    return found


def _columns(own: RunOptimizer, layout: Layout) -> list[tuple[int, int]]:
    """First and last column of each of the optimizer's groups."""
    places, begins, n = layout.places, [], 0
    for names in own.names:
        begins.append(places[n][0])
        n += len(names)
    # A group takes the gaps behind its parameters along, so that it is one slice.
    return list(zip(begins, [*begins[1:], layout.width], strict=True))
