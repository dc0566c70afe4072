"""A run's own optimizer object and its schedulers: they say by which settings a stack steps, and take no step."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import nn

from shoal.errors import ConfigError, suggestion
from shoal.optimizers import rate_of
from shoal.optimizers.parts import ByHand
from shoal.step.attributes import PLAIN
from shoal.step.unfit import CannotStackError, sentence
from shoal.step.unseen import Weightless

BY_HAND = "by hand"
"""The interval of a scheduler that steps when its module says so."""
Group = dict[str, Any]
"""The settings of some of a run's parameters, as torch's optimizers have them."""


class StateElsewhere:
    """Stands in a run's optimizer for its state, which the stack has: a hook would find nothing there, and lose it."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise CannotStackError(
            "asks for the state of its optimizer, which a run of a stack does not have",
            "its param_groups may be looked at",
        )

    __getitem__ = __setitem__ = __delitem__ = __iter__ = __len__ = __contains__ = _refuse
    get = items = keys = values = clear = pop = popitem = setdefault = update = copy = _refuse


class UnfitError(Exception):
    """An optimizer that a stack cannot take its steps by; the message says why, and what to take `instead`."""

    def __init__(self, does: str, instead: str) -> None:
        super().__init__(sentence(does, instead))


@dataclass
class Scheduled:
    """A scheduler, and when it steps."""

    scheduler: Any
    interval: str = "epoch"
    frequency: int = 1
    monitor: str | None = None
    """The metric that it watches."""
    strict: bool = True
    """Whether that metric must be there."""


class RunOptimizer:
    """The optimizer of one run, over the parameters of its module, which stay as they are."""

    by_step = False
    scheduler = None
    trainer: Any = None
    """Where the run stands, as its module sees it."""
    asked: nn.Module | None = None
    """The module, where schedulers hold it and may look at it."""

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer, scheduled: Sequence[Scheduled]) -> None:
        """The optimizer must have all parameters of the module that are trained.

        Raises:
            UnfitError: where it has not, or is made of other optimizers, or a scheduler watches a metric at every step.
        """
        self.optimizer = optimizer
        self.scheduled = scheduled
        names = {id(param): name for name, param in module.named_parameters() if param.requires_grad}
        self.params: list[list[nn.Parameter]] = [
            [param for param in group["params"] if id(param) in names] for group in optimizer.param_groups
        ]
        self.names = [[names[id(param)] for param in group] for group in self.params]
        """Of the parameters of each group that are trained, in the optimizer's order."""
        left = set(names.values()).difference(*self.names)
        if left:
            raise UnfitError(
                f"{self.called} does not have {min(left)}, which is trained",
                "given all of them, or requires_grad=False of the others, it stacks",
            )
        groups = {id(group) for group in optimizer.param_groups}
        if any(id(group) not in groups for part in self._parts for group in part.param_groups):
            raise UnfitError(
                f"{self.called} is made of other optimizers, whose groups are not its own",
                "one optimizer with groups of its own stacks",
            )
        if any(each.monitor and each.interval == "step" for each in scheduled):
            raise UnfitError("a scheduler watches a metric at every step", "with `interval: epoch` it stacks")
        if any(not group for group in self.params):
            raise UnfitError(f"{self.called} has a group without parameters to train", "without that group it stacks")
        self.epochs = 0
        self.used = self.lr
        """The learning rate of the last step."""
        for each in (optimizer, *self._parts):
            each._opt_called = True  # type: ignore[attr-defined]  # the stack takes its steps
        # Those that it is made of have it themselves.
        self.begun = {key: each for one in (optimizer, *self._parts) for key, each in one.state.items()}
        """What the object keeps beside its parameters before any step."""
        # Settings that an object has beside its groups: two runs that differ in them cannot share one.
        self._fixed = repr([attributes(each) for each in (optimizer, *self._parts)])

    def hide_state(self) -> None:
        """Let the object have no state that anybody could take for the one that the stack keeps."""
        for each in (self.optimizer, *self._parts):
            each.state = StateElsewhere()  # type: ignore[assignment]

    @property
    def each(self) -> list[torch.optim.Optimizer]:
        """The optimizers of the run, as its module has them: several where it steps them by hand."""
        return self.optimizer.parts if isinstance(self.optimizer, ByHand) else [self.optimizer]

    @property
    def by_hand(self) -> tuple[int, ...]:
        """How many groups each of the optimizers has that its module steps by hand; nothing where it does not."""
        own = self.optimizer
        return tuple(len(each.param_groups) for each in own.parts) if isinstance(own, ByHand) else ()

    @property
    def names_by_hand(self) -> list[list[str]]:
        """Of the parameters of each of these optimizers, in their order."""
        groups = iter(self.names)
        return [[name for _ in range(n) for name in next(groups)] for n in self.by_hand]

    def split(self, state: Mapping[Any, Any], groups: Sequence[Group]) -> list[dict[str, Any]]:
        """The state dict of each optimizer of the module, of `state` and `groups` that number through all of them."""
        found, first, rest = list[dict[str, Any]](), 0, list(groups)
        for each in self.each:
            own, rest = rest[: len(each.param_groups)], rest[len(each.param_groups) :]
            end = first + sum(len(group["params"]) for group in own)
            inner = {key: value for key, value in state.items() if not isinstance(key, int) or first <= key < end}
            found.append(
                {
                    "state": {key - first if isinstance(key, int) else key: value for key, value in inner.items()},
                    "param_groups": [{**group, "params": [i - first for i in group["params"]]} for group in own],
                }
            )
            first = end
        return found

    @staticmethod
    def joined(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The opposite of `split`."""
        state, groups, first = dict[Any, Any](), list[Group](), 0
        for each in states:
            state |= {key + first if isinstance(key, int) else key: own for key, own in each["state"].items()}
            groups += [{**group, "params": [i + first for i in group["params"]]} for group in each["param_groups"]]
            first += sum(len(group["params"]) for group in each["param_groups"])
        return {"state": state, "param_groups": groups}

    @property
    def called(self) -> str:
        """The name of its class; of a chain, the names of its parts."""
        own, *parts = (type(each).__name__ for each in (self.optimizer, *self._parts))
        return f"{own} of {' and '.join(parts)}" if parts else own

    @property
    def switches(self) -> bool:
        """Whether it, or one that it is made of, tells training from evaluating."""
        return any(hasattr(each, "eval") for each in self._parts or [self.optimizer])

    @property
    def weights(self) -> list[nn.Parameter]:
        """All parameters that are trained, in the optimizer's order."""
        return [param for group in self.params for param in group]

    @property
    def lr(self) -> float:
        """The learning rate of the first group; nan for one that has none."""
        return rate_of(self.optimizer)

    @property
    def groups(self) -> list[Group]:
        """The settings of each group as they are now, without its parameters."""
        return [{name: each for name, each in group.items() if name != "params"} for group in self._groups]

    @property
    def changes_by_step(self) -> bool:
        """Whether a scheduler may change settings at every step."""
        return any(each.interval == "step" for each in self.scheduled)

    def key(self) -> str:
        """What must agree for two runs to be stepped by one object."""
        return f"{self.called} {self._fixed} {self.groups}"

    def at(self, epoch: int, step: int) -> float:
        """The learning rate now."""
        del epoch, step
        return self.lr

    def stepped(self, batch: int) -> None:
        """Tell schedulers that the optimizer has stepped after this batch of the epoch."""
        self.used = self.lr
        if self.changes_by_step and self.trainer is not None:
            self.trainer.global_step += 1  # which a scheduler's function may look at
        for each in self.scheduled:
            if each.interval == "step" and (batch + 1) % each.frequency == 0:
                self._step(each.scheduler)

    def schedule(self, number: int) -> None:
        """Have one of the schedulers step, as a module does by hand."""
        self._step(self.scheduled[number].scheduler)

    def _step(self, scheduler: Any, *measured: float) -> None:
        """Have a scheduler step, whose functions may ask the module where it stands, and nothing else."""
        if self.asked is None:
            scheduler.step(*measured)
            return
        try:
            with self.trainer.unmeasured(), Weightless(self.asked):
                scheduler.step(*measured)
        except CannotStackError as error:
            error.within = type(scheduler).__name__
            raise

    def end_steps(self) -> None:
        """Tell schedulers that the last step of an epoch is taken: they step before a validation, as in Lightning."""
        self.epochs += 1
        for each in self._due:
            if each.monitor is None:
                self._step(each.scheduler)

    def end_epoch(self, metrics: Mapping[str, float], *, validated: bool) -> None:
        """Tell schedulers that watch a metric that an epoch is over; one of the validation waits for it.

        Raises:
            ConfigError: where it watches a metric that was not logged.
        """
        for each in self._due:
            if each.monitor is None:
                continue
            if each.monitor in metrics:
                self._step(each.scheduler, metrics[each.monitor])
            elif each.strict and (validated or not each.monitor.startswith("val")):
                hint = suggestion(each.monitor, metrics, kind="logged are")
                raise ConfigError("scheduler.monitor", each.monitor, "was not logged", hint=hint)

    @property
    def _due(self) -> list[Scheduled]:
        return [each for each in self.scheduled if each.interval == "epoch" and not self.epochs % each.frequency]

    def take(self, groups: Sequence[Mapping[str, Any]]) -> None:
        """Take over settings that steps have changed."""
        for mine, theirs in zip(self._groups, groups, strict=True):
            mine.update({name: value for name, value in theirs.items() if name != "params"})

    def state_dict(self) -> dict[str, Any]:
        """Settings and schedulers, to go on from."""
        schedulers = [dict(each.scheduler.state_dict()) for each in self.scheduled]
        return copy.deepcopy({"groups": self.groups, "schedulers": schedulers, "epochs": self.epochs})

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.epochs = saved["epochs"]
        self.load(saved["groups"], saved["schedulers"])

    def load(self, groups: Sequence[Mapping[str, Any]], schedulers: Sequence[Mapping[str, Any]]) -> None:
        """Go on from the groups of the optimizer's own state dict, and from those of its schedulers."""
        for each, state in zip(self.scheduled, schedulers, strict=True):
            each.scheduler.load_state_dict(copy.deepcopy(dict(state)))
        self.take(copy.deepcopy(list(groups)))
        self.used = self.lr

    def torch_state(
        self, params: Sequence[nn.Parameter], epoch: int, step: int, saved: Mapping[str, Any] | None
    ) -> tuple[list[Group], list[dict[str, Any]]]:
        """Parameter groups of the state dict, and the state dicts of the schedulers, where `saved` was taken."""
        del params, epoch, step
        saved = saved or self.state_dict()
        groups, first = [], 0
        for group, values in zip(self._groups, saved["groups"], strict=True):
            # Numbered through all groups, those that are not trained included, as in torch's own state dict.
            n = len(group["params"])
            groups.append({**values, "params": list(range(first, first + n))})
            first += n
        return groups, list(saved["schedulers"])

    @property
    def places(self) -> list[int]:
        """The number that the optimizer's state dict gives each trained parameter."""
        order = [id(param) for group in self._groups for param in group["params"]]
        return [order.index(id(param)) for group in self.params for param in group]

    @property
    def _groups(self) -> list[Group]:
        found: list[Group] = self.optimizer.param_groups
        return found

    def over(self, params: Sequence[Sequence[nn.Parameter]]) -> torch.optim.Optimizer:
        """The same object over other parameters, of each group those given, and without a state."""
        # Over a stack a group has one parameter, which has all of its rows and stands for each that there was.
        memo = {
            id(old): each[min(place, len(each) - 1)]
            for mine, each in zip(self.params, params, strict=True)
            for place, old in enumerate(mine)
        }
        groups: dict[int, Group] = {}
        for group, values, each in zip(self._groups, copy.deepcopy(self.groups, memo), params, strict=True):
            groups[id(group)] = {**values, "params": list(each)}
        # Not by the constructor: nobody knows what it was called with. All are made before any is filled: they refer to
        # each other.
        made = [(old, type(old).__new__(type(old))) for old in (self.optimizer, *self._parts)]
        copies: dict[int, Any] = memo | {id(old): new for old, new in made}
        state: defaultdict[Any, Any] = defaultdict(dict)
        for old, new in made:
            kept = {name: value for name, value in vars(old).items() if name not in _NOT_COPIED}
            new.__dict__.update(copy.deepcopy(kept, copies))
            new.param_groups = [groups[id(group)] for group in old.param_groups]
            new.state = state  # of one parameter each has its own
        return made[0][1]

    @property
    def _parts(self) -> list[torch.optim.Optimizer]:
        """The optimizers that it is made of."""
        return [each for value in vars(self.optimizer).values() for each in _optimizers(value)]


def _optimizers(value: Any) -> list[torch.optim.Optimizer]:
    """A value where it is an optimizer; those in it."""
    if isinstance(value, Mapping):
        value = list(value.values())
    each = value if isinstance(value, list | tuple) else [value]
    return [one for one in each if isinstance(one, torch.optim.Optimizer)]


def attributes(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The attributes that are numbers and the like."""
    return {name: value for name, value in vars(optimizer).items() if isinstance(value, PLAIN)}


_NOT_COPIED = {"step", "state", "param_groups"}
"""A scheduler puts a `step` of its own into the object."""
