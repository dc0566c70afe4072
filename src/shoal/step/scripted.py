"""A step that optimizes by hand, mapped over the runs of a stack: one mapped function for each of its gradients.

What it does between them is a script, the same for all runs. A step that decides by the time has a script for each way
that it goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from shoal.step.by_hand import ByHandStep
from shoal.step.clock import Clock
from shoal.step.compiled.program import Heat
from shoal.step.exact.guard import Guard
from shoal.step.hand import Event, Older
from shoal.step.mapped import Mapped
from shoal.step.stepped import Stepped, Tensors
from shoal.step.timed import TimeUse


@dataclass
class Passage:
    """A step up to one of its backwards, or all of it."""

    step: ByHandStep
    mapped: Mapped
    until: int | None
    """The number of the backward; none of the step that has no gradient to be taken any more."""
    last: bool
    """Whether the step goes on to its end, and gives what it logs and leaves."""

    def __call__(self, params: Tensors, buffers: Tensors, batch: Any, older: Older, clock: Clock) -> Stepped:
        """The part of every run; what it returns, and not the loss of the backward, comes as its output."""
        with self.reached():
            return self.mapped(params, buffers, (batch, tuple(older)), clock)

    def reached(self) -> Any:
        """Within it the step is this part of it."""
        return self.step.up_to(self.until, ends=not self.last)


@dataclass(frozen=True)
class Script:
    """What a step does by hand."""

    events: tuple[Event, ...]
    parts: Sequence[Passage]
    """Up to each backward; and to its end, where that needs the weights of after the last one."""

    @property
    def n_updates(self) -> list[int]:
        """How many updates come before each of the parts."""
        before, found = 0, []
        for each in self.events:
            before += each.kind == "update"
            found += [before] if each.kind == "backward" else []
        return [*found, before][: len(self.parts)]


@dataclass
class Scripted:
    """A step that optimizes by hand, for stacks of runs whose steps are like it."""

    step: ByHandStep
    heat: Heat = field(default_factory=Heat, repr=False)
    guard: Guard = field(default_factory=Guard, repr=False)
    double: bool = False
    """As `Mapped.double`."""
    unreached: frozenset[int] = frozenset()
    """The places of the parameters that have no gradient after the last step."""
    _times: list[tuple[TimeUse, Script]] = field(default_factory=list, repr=False)
    _scripts: dict[Any, Script] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._whole = self._part(None, last=True)

    def script(self, params: Tensors, buffers: Tensors, batch: Any, clock: Clock) -> Script:
        """What the step does at this time."""
        found = next((script for time_use, script in self._times if time_use.holds(clock.now)), None)
        return found or self._read(params, buffers, batch, clock)

    def parts(self, params: Tensors, buffers: Tensors, batch: Any, clock: Clock) -> Iterator[tuple[Mapped, Any]]:
        """What is mapped of the step at this time, and what each is given: weights of before updates are those of now.

        Within its turn the step is that part.
        """
        with self._whole.reached():
            yield self._whole.mapped, self.step.given(batch)
        script = self.script(params, buffers, batch, clock)
        for part, n in zip(script.parts, script.n_updates, strict=True):
            with part.reached():
                yield part.mapped, (batch, self.older(script, params, n))

    def older(self, script: Script, params: Tensors, n: int) -> tuple[dict[str, Tensor], ...]:
        """The first `n` of the script's updates, as if they changed nothing."""
        updates = [each.of for each in script.events if each.kind == "update"][:n]
        return tuple({name: params[name] for name in self.step.names[of]} for of in updates)

    def rehearse(self, params: Tensors, buffers: Tensors, batch: Any, clock: Clock) -> None:
        """Have everything ready for a call like this.

        Raises:
            InexactError: where the guard lets these runs not train together.
        """
        script = self.script(params, buffers, batch, clock)
        for part, n in zip(script.parts, script.n_updates, strict=True):
            with part.reached():
                part.mapped.rehearse(params, buffers, (batch, self.older(script, params, n)), clock)

    def forget(self) -> None:
        """Read it anew: it has changed since."""
        self._times.clear()
        self._scripts.clear()
        self._whole.mapped.forget()

    def _read(self, params: Tensors, buffers: Tensors, batch: Any, clock: Clock) -> Script:
        """Take the step once to see what it does, and which of the weights of after its updates it computes with."""
        step, whole = self.step, self._whole
        step.looks = True
        try:
            with whole.reached():
                time_use = whole.mapped.time_use(params, buffers, step.given(batch), clock)
        finally:
            step.looks = False
        events, used = tuple(step.hand.events), step.hand.used
        n = sum(each.kind == "backward" for each in events)
        before = next((i for i in range(len(events), 0, -1) if events[i - 1].kind == "backward"), 0)
        first = sum(each.kind == "update" for each in events[:before])
        # Then what is logged at the end follows from the weights of before the last gradient.
        joined = n > 0 and all(number < first for number in used)
        key = events, joined
        if key not in self._scripts:
            parts = [self._part(i, last=joined and i == n - 1) for i in range(n)]
            self._scripts[key] = Script(events, [*parts, *([] if joined else [self._part(None, last=True)])])
        if not time_use.told:
            self._times.append((time_use, self._scripts[key]))
        return self._scripts[key]

    def _part(self, until: int | None, *, last: bool) -> Passage:
        mapped = Mapped(
            self.step,
            gradients=until is not None,
            trains=True,
            heat=self.heat,
            guard=self.guard,
            double=self.double,
        )
        return Passage(self.step, mapped, until, last)
