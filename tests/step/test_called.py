"""Calls of a step whose effect no stack has: those that are the step's own."""

from __future__ import annotations

import gc
import time

import pytest

from shoal.step.called import called
from shoal.step.unfit import CannotStackError


def test_a_clock_that_is_read_while_garbage_is_collected_is_not_the_steps() -> None:
    read, refused = list[float](), list[tuple[str, str]]()

    def timed(phase: str, info: dict[str, int]) -> None:
        read.append(time.perf_counter())

    gc.callbacks.append(timed)
    try:
        with called(refused):
            gc.collect()
    finally:
        gc.callbacks.remove(timed)

    assert len(read) == 2
    assert refused == []


def test_a_clock_that_a_step_reads_is_the_steps() -> None:
    with pytest.raises(CannotStackError, match=r"reads a clock \(time.perf_counter\)"), called([]):
        time.perf_counter()
