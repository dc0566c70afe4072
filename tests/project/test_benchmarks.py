"""The benchmarks that reach into the engines still find what they time."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_the_benchmark_of_a_stack_trains_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    benchmark = import_module("stack")
    monkeypatch.setattr(benchmark.program, "HOT", benchmark.program.HOT)  # which it sets
    trained: list[int] = []
    monkeypatch.setattr(benchmark.Training, "epoch", _counted(benchmark.Training.epoch, trained))

    benchmark.stack(2, traced=True)(1)

    assert trained == [13]


def _counted(epoch: object, trained: list[int]) -> object:
    def counting(self: object, batches: list[object], *given: object, **named: object) -> object:
        trained.append(len(batches))
        return epoch(self, batches, *given, **named)  # type: ignore[operator]

    return counting
