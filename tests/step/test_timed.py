"""A step that looks at the time is traced: for each way that it goes, with what it computes from the time as inputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor

from shoal.step.clock import Clock
from shoal.step.mapped import Mapped
from shoal.step.stepped import Outcome
from shoal.step.timed import Timed, TimeUse
from shoal.step.trace import Trace

TIMES = [(0, 0, 0), (0, 1, 1), (1, 0, 2), (4, 1, 9), (9, 0, 18)]


def stepped(of: Callable[[Clock, Tensor], Any]) -> tuple[Mapped, list[Tensor], list[list[float]]]:
    """A step whose loss has this as a factor; its losses at each of the times, and what they should be."""

    def step(params: Any, buffers: Any, batch: Tensor, clock: Clock) -> Outcome:
        loss = (params["w"] * batch).square().mean()
        return Outcome(loss * of(clock, batch), {}, {})

    mapped = Mapped(step)
    mapped.guard.on = False
    w, x = torch.tensor([[1.5], [2.5]]), torch.tensor([[1.0, 2.0], [3.0, 0.5]])
    losses = [mapped({"w": w}, {}, x, Clock(*now)).losses for now in TIMES]
    plain = (w * x).square().mean(1)
    expected = [[float(of(Clock(*now), x[run]) * plain[run]) for run in range(2)] for now in TIMES]
    return mapped, losses, expected


def traces(mapped: Mapped) -> int:
    return sum(isinstance(each, Trace) for each in mapped._traces)


CASES: dict[str, tuple[Callable[[Clock, Tensor], Any], int]] = {
    "an annealed weight": (lambda clock, x: 0.1 + clock.epoch / 10, 1),
    "a warm-up that ends": (lambda clock, x: min(1.0, clock.step / 9 + 0.1), 2),
    "another loss in turn": (lambda clock, x: 2.0 if clock.batch_number() % 2 == 0 else 3.0, 2),
    "a stage of the training": (lambda clock, x: 1.0 + (clock.epoch >= 4) + (clock.epoch > 4), 3),
    "a tensor beside it": (lambda clock, x: (x * clock.step + clock.epoch).mean(), 1),
    "a power": (lambda clock, x: 0.5**clock.epoch + clock.epoch**2, 1),
    "rounded": (lambda clock, x: round(clock.step / 4) + clock.step // 4 + divmod(clock.step, 4)[1], 1),
    "compared with a tensor": (lambda clock, x: (x > clock.epoch).float().sum() + 1, 1),
    "a tensor made in the step": (lambda clock, x: (torch.ones(3) * (clock.epoch + 1)).sum(), 1),
    "a limit of a tensor": (lambda clock, x: x.clamp(max=1 + clock.epoch).sum(), 1),
}


@pytest.mark.parametrize("case", CASES)
def test_a_step_that_looks_at_the_time_is_traced_for_each_way_it_goes(case: str) -> None:
    of, ways = CASES[case]

    mapped, losses, expected = stepped(of)

    assert mapped.refused is None
    assert traces(mapped) == ways
    torch.testing.assert_close(torch.stack(losses), torch.tensor(expected))


@pytest.mark.parametrize(
    "of",
    [
        lambda clock, x: math.exp(clock.epoch / 10),
        lambda clock, x: [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0][clock.epoch],
        lambda clock, x: {0: 1.0}.get(clock.epoch, 2.0),
        lambda clock, x: float(f"{clock.epoch}") + 1,
        lambda clock, x: numpy.clip(clock.step / 9, 0.1, 1.0),
        lambda clock, x: torch.full((), clock.epoch + 1.0),
        lambda clock, x: sum(1 for _ in range(clock.epoch)) + 1,
        lambda clock, x: clock.epoch.bit_length() + 1,
        lambda clock, x: (x.long() + clock.epoch / 2).sum(),
    ],
)
def test_a_step_that_asks_for_the_number_itself_is_mapped_anew_each_time(of: Callable[[Clock, Tensor], Any]) -> None:
    mapped, losses, expected = stepped(of)

    assert mapped.refused
    torch.testing.assert_close(torch.stack(losses), torch.tensor(expected))


def test_what_is_mapped_anew_at_some_times_is_traced_at_the_others() -> None:
    mapped, losses, expected = stepped(lambda clock, x: 1.0 if clock.epoch < 4 else math.exp(clock.epoch))

    assert mapped.refused is None
    assert traces(mapped) == 1
    torch.testing.assert_close(torch.stack(losses), torch.tensor(expected))


def test_a_step_without_an_end_of_ways_is_not_traced_for_all_of_them() -> None:
    def counted(clock: Clock, x: Tensor) -> float:
        left, found = clock.step + 30, 0.0
        while left > 0:
            left, found = left - 1, found + 1
        return found

    mapped, losses, expected = stepped(counted)

    assert traces(mapped) == 0
    assert len(list(mapped._traces)) == 1
    torch.testing.assert_close(torch.stack(losses), torch.tensor(expected))


def test_a_number_of_the_time_says_that_it_is_one_and_is_none() -> None:
    number = Timed(TimeUse((3, 1, 7)), lambda now: now[2] / 2)

    assert isinstance(number, float)
    assert not isinstance(number, int)
    assert not isinstance(3.5, Timed)
    assert number.time_use.timeless
