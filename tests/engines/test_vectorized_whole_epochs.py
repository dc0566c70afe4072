"""Steps that one function takes run by run: the numbers of steps taken one by one, to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from shoal.engines.stack import epoch, whole_epoch
from shoal.engines.stack.clipping import GradientLimits
from shoal.engines.stack.epoch import Training
from shoal.engines.stack.epoch_history import EpochHistory
from shoal.engines.stack.stack import Stack
from shoal.engines.stack.steady import steady
from shoal.engines.stack.update import Update
from shoal.models import MLP
from shoal.optimizers import SGD, Adam, AdamW, Optimizer
from shoal.optimizers.rule import Column
from shoal.step.clock import Clock
from shoal.step.exact import remembered
from shoal.step.mapped import Mapped
from shoal.step.trace import Trace
from stacks import OPTIMIZERS, Build, columns, samples, squared_error, stacked

SEEDS = [3, 7, 5]
STEPS = 7


@pytest.fixture(autouse=True)
def one_thread(compiled_at_once: None) -> Iterator[None]:
    with steady():
        yield


def batches(number: int, dtype: torch.dtype = torch.float32) -> list[Any]:
    """An epoch of several batches, the last of which is smaller."""
    every = stacked([samples(seed, 3 * STEPS, dtype)[number * STEPS :][:STEPS] for seed in SEEDS])
    *whole, (x, y) = every
    return [*whole, (x[:, :16], y[:, :16])]


def plain(seed: int) -> nn.Module:
    return MLP(hidden=(32, 32)).build(inputs=1, outputs=1, generator=torch.Generator().manual_seed(seed))


class Trained:
    """A stack that trains epoch by epoch; `at_once` says whether its batches are given in a list."""

    def __init__(
        self,
        optimizer: Callable[[int], Optimizer],
        *,
        at_once: bool,
        build: Build = plain,
        dtype: torch.dtype = torch.float32,
        limits: GradientLimits | None = None,
    ) -> None:
        modules = [build(seed).to(dtype) for seed in SEEDS]
        optimizers = [optimizer(seed) for seed in SEEDS]
        rule = optimizers[0].stacked()
        assert rule is not None
        self.stack = Stack.of(modules, rule, rule.columns(optimizers), limits=limits)
        self.mapped = Mapped(squared_error(modules[0]))
        self.update = Update()
        self.clock = Clock()
        self.lrs = [columns([each.lr for each in optimizers])]  # type: ignore[attr-defined]
        self._at_once = at_once

    def epoch(
        self, given: Sequence[Any], lrs: Sequence[Column] = (), stop: Callable[[], bool] = lambda: False
    ) -> EpochHistory:
        training = Training(self.stack, self.mapped, self.update)
        some: Any = list(given) if self._at_once else iter(given)
        return training.epoch(some, lrs or self.lrs, self.clock, n_batches=len(given), stop=stop)

    @property
    def compiled(self) -> bool:
        """Whether steps are a kernel each: which products have the library's bits depends on the processor."""
        traces = [each for each in self.mapped._traces if isinstance(each, Trace)]
        programs = [*(trace.program for trace in traces), *self.update._programs.values()]
        return all(each.one_kernel is not None for each in programs)

    @property
    def state(self) -> list[Tensor]:
        return [self.stack.params, *self.stack.state.values()]


def both(optimizer: Callable[[int], Optimizer], **kwargs: Any) -> tuple[Trained, Trained]:
    return Trained(optimizer, at_once=True, **kwargs), Trained(optimizer, at_once=False, **kwargs)


def equal(one: EpochHistory, other: EpochHistory) -> bool:
    pairs = zip([*one.tensors(), one.norms[-1]], [*other.tensors(), other.norms[-1]], strict=True)
    return one.sizes == other.sizes and all(torch.equal(mine, theirs) for mine, theirs in pairs)


def same(one: Trained, other: Trained) -> bool:
    pairs = zip(one.state, other.state, strict=True)
    counts = [(each.stack.steps, each.stack.active, each.stack.diverged, each.clock.now) for each in (one, other)]
    return counts[0] == counts[1] and all(torch.equal(mine, theirs) for mine, theirs in pairs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_taken_at_once_have_the_bits_of_steps_one_by_one(name: str, dtype: torch.dtype) -> None:
    at_once, by_steps = both(OPTIMIZERS[name], dtype=dtype)

    histories = [[each.epoch(batches(number, dtype)) for number in range(3)] for each in (at_once, by_steps)]

    assert list(at_once.update.exact.values()) == [True] * at_once.compiled
    assert not by_steps.update.exact
    assert all(map(equal, *histories))
    assert same(at_once, by_steps)


def test_steps_taken_at_once_have_each_its_own_learning_rates() -> None:
    at_once, by_steps = both(OPTIMIZERS["adam"])
    rates = [columns([1e-3 * (step + 1), 2e-3, 1e-2 / (step + 1)]) for step in range(STEPS)]

    for number in range(3):
        assert equal(at_once.epoch(batches(number), rates), by_steps.epoch(batches(number), rates)) or not number

    assert list(at_once.update.exact.values()) == [True] * at_once.compiled
    assert same(at_once, by_steps)


def test_a_run_that_is_not_finite_stops_as_by_steps_one_by_one() -> None:
    at_once, by_steps = both(OPTIMIZERS["adam"])
    poisoned = batches(2)
    poisoned[4][1][1] = torch.nan

    for each in (at_once, by_steps):
        for given in (batches(0), batches(1), poisoned, batches(0)):
            each.epoch(given)

    assert list(at_once.update.exact.values()) == [True] * at_once.compiled
    assert (at_once.stack.diverged[1].step, at_once.stack.diverged[1].what) == (2 * STEPS + 4, "loss")
    assert same(at_once, by_steps)


def test_a_very_large_gradient_within_steps_taken_at_once_changes_nothing() -> None:
    at_once, by_steps = both(OPTIMIZERS["rmsprop"])
    large = [(x, y * 1e12 if number == 3 else y) for number, (x, y) in enumerate(batches(2))]

    for each in (at_once, by_steps):
        for given in (batches(0), batches(1), large, batches(0)):
            each.epoch(given)

    assert list(at_once.update.exact.values()) == [True] * at_once.compiled
    assert same(at_once, by_steps)


def test_a_request_to_stop_is_heard_between_steps_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_epoch, "PATIENCE", 0.0)
    at_once, by_steps = both(OPTIMIZERS["adam"])

    for each in (at_once, by_steps):
        each.epoch(batches(0))
        each.epoch(batches(1))
        asked = iter([False, False, False, True])
        assert len(each.epoch(batches(2), stop=lambda asked=asked: next(asked)).losses) == 3  # type: ignore[misc]

    assert same(at_once, by_steps)


def test_a_stop_before_the_first_step_takes_none() -> None:
    at_once, _ = both(OPTIMIZERS["adam"])
    for number in range(2):
        at_once.epoch(batches(number))
    before = [each.clone() for each in at_once.state]

    history = at_once.epoch(batches(2), stop=lambda: True)

    assert (history.losses, history.norms) == ([], [])
    assert all(map(torch.equal, before, at_once.state))


def frozen(seed: int) -> nn.Module:
    module = plain(seed)
    next(iter(module.parameters())).requires_grad_(False)
    return module


def normed(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(1, 10), nn.BatchNorm1d(10), nn.Tanh(), nn.Linear(10, 1))


@pytest.mark.parametrize(("build", "taken"), [(frozen, True), (normed, False)])
def test_steps_are_taken_at_once_with_buffers_that_stay_only(build: Build, taken: bool) -> None:
    at_once, by_steps = both(lambda i: Adam(lr=1e-3), build=build)

    histories = [[each.epoch(batches(number)) for number in range(3)] for each in (at_once, by_steps)]

    assert list(at_once.update.exact.values()) == [True] * (taken and at_once.compiled)
    assert all(map(equal, *histories))
    assert same(at_once, by_steps)


MOMENTA: dict[str, Callable[[int], Optimizer]] = {
    "momentum": lambda i: SGD(lr=0.01, momentum=0.9),
    "nesterov": lambda i: SGD(lr=0.01, momentum=0.9, nesterov=True),
    "adamw": lambda i: AdamW(lr=1e-3, weight_decay=0.01),
}


@pytest.mark.parametrize("name", MOMENTA)
def test_an_update_that_writes_what_it_reads_again_is_one_kernel(name: str) -> None:
    at_once, by_steps = both(MOMENTA[name])

    for each in (at_once, by_steps):
        for number in range(3):
            each.epoch(batches(number))

    assert all(each.one_kernel is not None for each in at_once.update._programs.values())
    assert list(at_once.update.exact.values()) == [True] * at_once.compiled
    assert same(at_once, by_steps)


def test_an_update_of_a_single_operation_is_a_part_of_steps_taken_at_once() -> None:
    at_once, by_steps = both(lambda i: SGD(lr=0.01 * (i + 1)))

    histories = [[each.epoch(batches(number)) for number in range(3)] for each in (at_once, by_steps)]

    assert all(each.one_kernel is not None for each in at_once.update._programs.values())
    assert list(at_once.update.exact.values()) == [True] * at_once.compiled
    assert all(map(equal, *histories))
    assert same(at_once, by_steps)


LIMITS = {
    "norms": GradientLimits.of([0.1, None, 1.0], [None, None, None]),
    "values": GradientLimits.of([None, None, None], [0.01, None, 1.0]),
    "both": GradientLimits.of([None, 0.5, None], [0.01, None, None]),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", LIMITS)
def test_clipped_steps_taken_at_once_have_the_bits_of_steps_one_by_one(name: str, dtype: torch.dtype) -> None:
    at_once, by_steps = both(OPTIMIZERS["adam"], limits=LIMITS[name], dtype=dtype)

    histories = [[each.epoch(batches(number, dtype)) for number in range(3)] for each in (at_once, by_steps)]

    # Where torch's vectors have another length it adds a norm's squares in another order: then by steps one by one.
    assert len(at_once.update.exact) == at_once.compiled
    assert name != "values" or all(at_once.update.exact.values())
    assert all(map(equal, *histories))
    assert all(
        torch.equal(one.clipped_norms[-1], other.clipped_norms[-1]) for one, other in zip(*histories, strict=True)
    )
    assert same(at_once, by_steps)


def test_steps_are_taken_one_by_one_where_other_bits_would_come_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, by_steps = both(OPTIMIZERS["momentum"], dtype=torch.float64)
    monkeypatch.setattr(remembered, "known", lambda name: False)
    monkeypatch.setattr(epoch, "same_bits", lambda one, other: False)

    for each in (at_once, by_steps):
        for number in range(3):
            each.epoch(batches(number, torch.float64))

    assert list(at_once.update.exact.values()) == [False] * at_once.compiled
    assert same(at_once, by_steps)
