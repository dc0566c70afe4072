"""The hooks of a stack's runs at the ends of epochs: those of each run's module and callbacks, as if it trained alone.

While they run, the run's weights are in its module, and its `RunTrainer` stands where the run does. What they log is
part of the epoch, and what they change of the weights is the stack's. Other attributes that they change, a step may
read as long as they are the same in all runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn

from shoal.engines.hook_names import BEGINNING, END, VALIDATION, called, hooks_of
from shoal.engines.stack.stack import Stack
from shoal.engines.vectorized.hooks.hook_logging import logging_in
from shoal.engines.vectorized.hooks.last_gradients import LastGradients, Ungraded
from shoal.engines.vectorized.hooks.tried import callbacks_as_they_were
from shoal.engines.vectorized.hooks.worlds import Worlds
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.steps import Steps
from shoal.seeding import generators_restored, global_states, seed_global, set_global_states
from shoal.step.as_written import as_written
from shoal.step.attributes import Attributes, content
from shoal.step.left import Left, as_before, refuse, watched
from shoal.step.step_trainer import switch
from shoal.step.unfit import CannotStackError

_IN_PLACE = "what __init__ and setup make may be written to in place"


_ENDS = "ends its training by a StopIteration", "trainer.should_stop = True ends it in a stack, too"


class Hooks:
    """The hooks of the runs of a stack."""

    def __init__(self, members: Sequence[Member], steps: Steps) -> None:
        self.members = members
        self.steps = steps
        left = steps.captured["train"].left
        every = {run: _RunHooks(member, left) for run, member in enumerate(members)}
        self._runs = {run: hooks for run, hooks in every.items() if hooks.calls}
        self._begun: int | None = None
        self.worlds = Worlds(members)
        self.gradients = LastGradients()

    @property
    def any(self) -> bool:
        """Whether there are any."""
        return bool(self._runs)

    def begin(self, stack: Stack, live: Mapping[int, int], epoch: int) -> bool:
        """Call those of the beginning of a training and of an epoch, unless they were called; as `call`."""
        first, anew, self._begun = self._begun is None, self._begun != epoch, epoch
        names = (*(BEGINNING if first else ()), *(["on_train_epoch_start"] if anew else []))
        for hooks in self._runs.values() if anew else ():
            hooks.begin_epoch()
        return self.call(names, stack, live, epoch)

    def call(
        self,
        names: Sequence[str],
        stack: Stack,
        live: Mapping[int, int],
        epoch: int,
        metrics: Mapping[int, Mapping[str, float]] | None = None,
    ) -> bool:
        """Call those of these names for runs in these rows; whether any of them has changed its weights.

        `metrics` are what the runs have measured in this epoch.
        """
        changed, called = False, [run for run in live if run in self._runs and self._runs[run].has(names)]
        if not called:  # most runs have no hooks: nothing is drawn that the generators would be restored after
            return False
        with generators_restored():
            for run in self.worlds.each(called, epoch):
                row, hooks = live[run], self._runs[run]
                # Alone, no hook is called any more once the training has failed.
                if row not in stack.diverged:
                    hooks.at(epoch, stack.steps[row], (metrics or {}).get(run, {}))
                    changed |= self._run(run, names, stack, row)
        # A step is traced once for all runs: of what hooks set it can only read what is the same in all.
        self._agree([self.members[run].module for run in live])
        return changed

    def end(self, runs: Mapping[int, int], stack: Stack) -> None:
        """Call those of the end of a training for runs in these rows; what they change is no part of it."""
        with generators_restored():
            called = [run for run in runs if run in self._runs and self._runs[run].has(END)]
            for run in self.worlds.each(called):
                self._runs[run].trainer.current_epoch += 1  # Lightning counts the epochs that are done by then
                self._run(run, END, stack, runs[run], keeps=False)

    def _run(self, run: int, names: Sequence[str], stack: Stack, row: int, *, keeps: bool = True) -> bool:
        self.gradients.give(run, self.members[run].module, stack)
        with nullcontext() if self.gradients.known else Ungraded():
            return self._runs[run].run(names, stack, row, keeps=keeps)

    def has(self, names: Sequence[str]) -> bool:
        """Whether a run has one of these names."""
        return any(hooks.has(names) for hooks in self._runs.values())

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Let modules, and the Trainers that hooks see, be after the block what they were before it."""
        with ExitStack() as stack:
            stack.enter_context(self.worlds.undone())
            for hooks in self._runs.values():
                stack.enter_context(hooks.undone())
            yield
        self._agree([member.module for member in self.members])

    def know(self, run: int, metrics: Mapping[str, float]) -> None:
        """Let the hooks of the next epoch know what the run has measured."""
        if run in self._runs:
            self._runs[run].know(metrics)

    def logged(self, run: int) -> Mapping[str, float]:
        """The metrics that a run's hooks have logged in this epoch."""
        return self._runs[run].logged if run in self._runs else {}

    def stops(self, run: int) -> bool:
        """Whether one of them told the run's Trainer to stop."""
        return run in self._runs and self._runs[run].trainer.should_stop

    def _agree(self, live: Sequence[nn.Module]) -> None:
        """Let the steps see what hooks have set of the modules, as far as it is the same in all runs."""
        changed = frozenset[str]().union(*(hooks.attributes.changed for hooks in self._runs.values()))
        names = self.steps.hooked | changed
        if names:
            self.steps.follow(live[0], names, frozenset(name for name in names if _agree(live, name)))


def begun(member: Member) -> None:
    """Call the hooks after which a run's first step comes, its module as it is: for a look at that step."""
    hooks, looked = _RunHooks(member), callbacks_as_they_were([member.job], functions=False)
    with generators_restored(), Worlds([member]).undone(), looked:
        seed_global(member.job.seed)
        for name in (*BEGINNING, "on_train_epoch_start"):
            hooks.call(name)


class _RunHooks:
    """The hooks of one run."""

    def __init__(self, member: Member, left: Left | None = None) -> None:
        """`left` is what is known of what the run's steps leave on its module, and in a stack do not."""
        self.member = member
        self._left = left or Left()
        self.trainer = member.trainer
        self.logged: dict[str, float] = {}
        self.attributes = Attributes(member.module, gives_samples=member.gives_samples)
        self.calls: dict[str, list[Callable[[], Any]]] = {}
        # Callbacks first, as with Lightning: the module's own hook finds what they have done.
        for each in called(member.job.callbacks).values():
            for name in hooks_of(each):
                self._add(name, each, self.trainer, member.module)
        for name in hooks_of(member.module):
            self._add(name, member.module)
        self._generators: Any = None

    def has(self, names: Sequence[str]) -> bool:
        """Whether there is one of these names."""
        return any(name in self.calls for name in names)

    def at(self, epoch: int, step: int, metrics: Mapping[str, float]) -> None:
        """Let the run's Trainer stand there."""
        self.trainer.stand(epoch, step)
        self.know(metrics)

    def know(self, metrics: Mapping[str, float]) -> None:
        """Let the run's Trainer know them."""
        self.trainer.know(metrics)

    @contextmanager
    def undone(self) -> Iterator[None]:
        """As `Hooks.undone` says."""
        trainer, logged, generators = self.trainer.moved(), dict(self.logged), self._generators
        with as_before(self.member.module):
            yield
        self.logged, self._generators = logged, generators
        vars(self.trainer).update(trainer)

    def begin_epoch(self) -> None:
        """Log anew, and draw from the generators as they are when an epoch begins."""
        self.logged, self._generators = {}, None

    def run(self, names: Sequence[str], stack: Stack, row: int, *, keeps: bool = True) -> bool:
        """Call those of these names; whether they have changed the weights, which the stack is given if it `keeps`."""
        # Alone, an epoch's hooks draw one after the other from generators that were seeded at its beginning.
        if self._generators is None:
            seed_global(self.member.job.seed, self.trainer.current_epoch)
        else:
            set_global_states(self._generators)
        try:
            weights = _Weights(self.member.module, stack, row)
            switch(self.member.module, training=True)
            self.attributes.note()
            for name in names:
                self.call(name)
            # Hooks of a validation leave the module in its other mode, which would count as changed attributes.
            switch(self.member.module, training=True)
            self.attributes.compare()
            self.trainer.check()
            changed = weights.changed()
        except CannotStackError as error:
            # Where one of the hooks was running, `call` has named it already.
            called = " or ".join(name for name in names if name in self.calls)
            error.within = error.within or f"{called} of {type(self.member.module).__name__}"
            raise
        self._generators = global_states()
        if changed and keeps:
            weights.give()
        return bool(changed) and keeps

    def call(self, name: str) -> None:
        """Call those of this name, the module as it is."""
        module, validates = self.member.module, name in VALIDATION
        switch(module, training=not validates)
        self.trainer.validates(now=validates)
        try:
            with (
                watched(module, self._left.untold, refuse),
                logging_in(module, name) as given,
                torch.set_grad_enabled(not validates),
                as_written(),
            ):
                for call in self.calls.get(name, ()):
                    call()
        except (CannotStackError, StopIteration) as raised:
            # By a StopIteration Lightning's loop ends, and so would that of all runs.
            error = raised if isinstance(raised, CannotStackError) else CannotStackError(*_ENDS)
            error.within = error.within or f"{type(module).__name__}.{name}"
            raise error from raised
        finally:
            self.trainer.validates(now=False)
        self.logged |= given.shown
        self.trainer.callback_metrics |= given.every

    def _add(self, name: str, owner: Any, *given: Any) -> None:
        # Lightning tells these two, and no others, for which of the Trainer's functions they are called.
        stage = [TrainerFn.FITTING] if name in ("setup", "teardown") else []
        # Looked up at each call: while hooks are only tried, other functions stand in their places (`tried`).
        self.calls.setdefault(name, []).append(lambda: getattr(owner, name)(*given, *stage))


class _Weights:
    """A run's weights, put into its module."""

    def __init__(self, module: nn.Module, stack: Stack, row: int) -> None:
        self.module = module
        parts = zip(stack.layout.names, stack.layout.parts(stack.params[row]), strict=True)
        self.places = {**dict(parts), **{name: value[row] for name, value in stack.buffers.items()}}
        self.own = own = _tensors(module)
        self.kinds = _kinds(own)
        self.parts = dict(module.named_modules())
        with torch.no_grad():
            for name, place in self.places.items():
                own[name].copy_(place)

    def changed(self) -> bool:
        """Whether the module has other ones by now.

        Raises:
            CannotStackError: where it has none for a place, or is to train others than before.
        """
        now = _tensors(self.module)
        changed = _kinds(now) != self.kinds
        if changed and [each[:-1] for each in _kinds(now)] == [each[:-1] for each in self.kinds]:
            raise CannotStackError("changes which parameters are trained", "a group whose lr is 0 keeps its weights")
        if changed:
            raise CannotStackError(
                "has other parameters or buffers than before, or of other shapes or types",
                _IN_PLACE,
            )
        for name, part in self.module.named_modules():
            # Which may have no weights, as a loss.
            if self.parts.get(name) is not part:
                raise CannotStackError(f"puts another layer in the place of self.{name}", _IN_PLACE)
        for name, value in self.own.items():
            # Alone, no optimizer knows the new one.
            if value.requires_grad and now[name] is not value:
                raise CannotStackError(f"puts another parameter in the place of self.{name}", _IN_PLACE)
        return not all(torch.equal(now[name], place.to(now[name].device)) for name, place in self.places.items())

    def give(self) -> None:
        """Let the stack have those of the module."""
        now = _tensors(self.module)
        with torch.no_grad():
            for name, place in self.places.items():
                place.copy_(now[name])


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _kinds(tensors: Mapping[str, Tensor]) -> list[Any]:
    return [(name, each.shape, each.dtype, each.requires_grad) for name, each in tensors.items()]


def _agree(modules: Sequence[nn.Module], name: str) -> bool:
    """Whether an attribute holds the same in all modules."""
    first, *others = (content(vars(module).get(name)) for module in modules)
    return all(each == first for each in others) and first == content(vars(modules[0]).get(name))
