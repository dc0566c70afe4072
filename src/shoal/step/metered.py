"""A step whose metrics of torchmetrics are mapped along: their states are buffers of the stack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch
from torchmetrics import Metric

from shoal.step.captured import CapturedStep
from shoal.step.clock import Clock
from shoal.step.logged import Stage, arguments, in_dictionary
from shoal.step.stepped import Outcome, Tensors
from shoal.step.unfit import AS_BUFFER, AS_PART, OWN_NAME, CannotStackError

MARK = "\0metric."
"""Begins the name of a metric's state among the buffers."""
BATCH = "\0batch."
"""Begins the name under which the value of a metric for a batch is logged."""


class MeteredStep(CapturedStep):
    """The step of a module of anybody's: what it logs is kept as it was asked for, to be asked of Lightning again."""

    def __init__(
        self,
        module: Any,
        stage: Stage,
        *,
        keeps: bool = False,
        mixed: bool = False,
        double: bool = False,
        hooks: Sequence[str] | None = None,
    ) -> None:
        super().__init__(module, stage, keeps=keeps, mixed=mixed, double=double, hooks=hooks)
        self.left.visible = True
        self.calls: dict[str, dict[str, Any]] = {}
        """The arguments of each `self.log`, by name; known after the first call."""
        self.metrics: dict[str, str] = {}
        """By name of what is logged the path of the metric that it is."""
        self.updates: dict[str, int] = {}
        """How often a step updates each metric."""
        self._parts = {path: part for path, part in module.named_modules() if isinstance(part, Metric)}
        # Mapped along here, metrics have to compute in the step, and not to be noted for later.
        self.fills.metrics.leave()

    def held(self) -> dict[str, Tensor]:
        """Buffers and frozen parameters, and the states of metrics."""
        return {**super().held(), **states(self._parts)}

    def __call__(self, params: Tensors, buffers: Tensors, batch: Any, clock: Clock) -> Outcome:
        given = {name: value for name, value in buffers.items() if name.startswith(MARK)}
        own = {name: value for name, value in buffers.items() if name not in given}
        with self._mapped_along(given) as values:
            outcome = super().__call__(params, own, batch, clock)
            if self.fills.items:
                raise CannotStackError(f"fills self.{self.fills.items[0].attribute}", AS_BUFFER)
            new = {name: _state(self._parts, name) for name in given}
        return outcome._replace(buffers={**outcome.buffers, **new}, logged={**outcome.logged, **values})

    @contextmanager
    def _mapped_along(self, given: Tensors) -> Iterator[dict[str, Tensor]]:
        """Have the metrics be in these states; afterwards they are as they were."""
        module, parts, values = self.module, self._parts, dict[str, Tensor]()
        before = {path: dict(vars(part)) for path, part in parts.items()}
        counts = dict.fromkeys(parts, 0)
        mapped = _functorch.peek_interpreter_stack() is not None
        try:
            for path, part in parts.items():
                _prepare(part, path, counts, values, mapped=mapped)
            for name, value in given.items():
                path, _, state = name.removeprefix(MARK).rpartition(".")
                vars(parts[path])[state] = value.clone()
            # On the instance, which comes before the class that `CapturedStep` puts there; `log` goes on to that.
            vars(module)["log"], vars(module)["log_dict"] = self._log(values), self._log_dict
            yield values
            _drop_unlogged(values, self.metrics)
            self._agree({path: n for path, n in counts.items() if n})
        finally:
            for name in ("log", "log_dict"):
                vars(module).pop(name, None)
            for path, part in parts.items():
                # With all else that the step has set there: tensors of the mapping, of no use outside of it.
                vars(part).clear()
                vars(part).update(before[path])

    def _agree(self, counts: dict[str, int]) -> None:
        if not self.updates:
            self.updates = counts
        elif self.updates != counts:
            raise CannotStackError("does not update the same metrics each time", "each step has to update all of them")

    def _log(self, values: dict[str, Tensor]) -> Callable[..., None]:
        def log(name: str, value: Any, *args: Any, **kwargs: Any) -> None:
            given = arguments(self.module, name, value, *args, **kwargs)
            settings = {key: each for key, each in given.items() if key not in ("self", "name", "value")}
            if self.calls.setdefault(name, settings) != settings:
                raise CannotStackError(f"logs {name} with other arguments than before", OWN_NAME)
            if isinstance(value, Metric):
                self.metrics[name] = self._path(name, value)
                if settings["on_step"] or (settings["on_step"] is None and self.stage == "train"):
                    self._need(name, values)
            else:
                type(self.module).log(self.module, name, value, *args, **kwargs)

        return log

    def _log_dict(self, dictionary: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:
        for name, (value, settings) in in_dictionary(self.module, dictionary, *args, **kwargs).items():
            vars(self.module)["log"](name, value, **settings)

    def _path(self, name: str, metric: Metric) -> str:
        for path, part in self._parts.items():
            if part is metric:
                return str(path)
        raise CannotStackError(f"logs {name}, which is a metric that is no part of the module", AS_PART)

    def _need(self, name: str, values: Mapping[str, Tensor]) -> None:
        if f"{BATCH}{self.metrics[name]}" not in values:
            raise CannotStackError(
                f"logs {name} by step, a metric whose value for a batch is no single number", "on_epoch=True logs it"
            )


def states(metrics: Mapping[str, Metric]) -> dict[str, Tensor]:
    """The states of metrics as buffers of a stack.

    Raises:
        CannotStackError: where one has another state than tensors.
    """
    found = {}
    for path, part in metrics.items():
        for state in part._defaults:
            value = getattr(part, state)
            if not isinstance(value, Tensor):
                raise CannotStackError(
                    f"has a metric, {path}, that keeps all it is given", "given thresholds or bins, most keep sums"
                )
            found[f"{MARK}{path}.{state}"] = value.detach()
    return found


def put(module: Any, name: str, value: Tensor) -> None:
    """Have a metric of a module be in a state."""
    path, _, state = name.removeprefix(MARK).rpartition(".")
    part = module.get_submodule(path)
    setattr(part, state, value)


def _state(parts: Mapping[str, Metric], name: str) -> Tensor:
    path, _, state = name.removeprefix(MARK).rpartition(".")
    value: Tensor = getattr(parts[path], state).detach()
    return value


def _drop_unlogged(values: dict[str, Tensor], metrics: Mapping[str, str]) -> None:
    for name in [name for name in values if name.removeprefix(BATCH) not in metrics.values()]:
        del values[name]


def _prepare(part: Any, path: str, counts: dict[str, int], values: dict[str, Tensor], *, mapped: bool) -> None:
    """Have a metric compute with tensors alone."""
    if any(isinstance(child, Metric) for child in part.children()):
        raise CannotStackError(f"has a metric, {path}, that is made of others", "each by itself is followed")
    kind, own = type(part), vars(part)
    if mapped:  # these look at values, which alone they have been seen to bear
        own |= {name: value for name, value in (("nan_strategy", "disable"), ("validate_args", False)) if name in own}

    def update(*args: Any, **kwargs: Any) -> None:
        counts[path] += 1
        with torch.no_grad():
            kind.update(part, *args, **kwargs)

    def forward(*args: Any, **kwargs: Any) -> Any:
        # The batch by itself from fresh states, then the batch among all: what torchmetrics' `forward` comes to.
        before = {name: own[name] for name in part._defaults}
        own.update({name: torch.zeros_like(before[name]).add(value) for name, value in part._defaults.items()})
        with torch.no_grad():
            kind.update(part, *args, **kwargs)
        value = _computed(kind, part)
        own.update(before)
        update(*args, **kwargs)
        if isinstance(value, Tensor) and value.numel() == 1:
            values[f"{BATCH}{path}"] = value.detach().reshape(())
        return value

    def refused(*_: Any, **__: Any) -> None:
        raise CannotStackError(
            f"computes or resets {path}, a metric, within a step", "logged as an object it is read and reset by itself"
        )

    own |= {"update": update, "forward": forward, "compute": refused, "reset": refused}


def _computed(kind: Any, part: Any) -> Any:
    """The value of the metric; None where that takes more than tensors."""
    try:
        with torch.no_grad():
            return kind.compute(part)
    except Exception:  # it may not be asked for
        return None
