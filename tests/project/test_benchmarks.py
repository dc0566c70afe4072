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


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*")
def test_the_benchmark_of_a_gpu_checks_and_times_a_device(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    benchmark = import_module("gpu")
    monkeypatch.setattr(benchmark, "N", 2)
    monkeypatch.setattr(benchmark, "product", lambda *_: [(("32-true", 0.0), 0.1)])  # of all that it checks
    monkeypatch.setattr("sys.argv", ["gpu.py", "--accelerator", "cpu", "--sizes", "2", "--epochs", "1"])

    failed = benchmark.main()

    head, checked, names, row = capsys.readouterr().out.splitlines()
    assert not failed
    assert head.startswith("cpu beside ")
    assert "differ from the CPU's by 0.0e+00, as it should be; trained again the same bits; in a stack of 8" in checked
    assert (names.split(), len(row.split())) == (["runs", "CPU", "ms", "a", "run", "32-true", "bf16-mixed"], 4)


def test_where_there_is_no_gpu_its_benchmark_says_that_it_checked_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    benchmark = import_module("gpu")
    for kind in (benchmark.CUDAAccelerator, benchmark.MPSAccelerator):
        monkeypatch.setattr(kind, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["gpu.py"])

    failed = benchmark.main()

    assert not failed
    assert capsys.readouterr().out == "There is no GPU here: nothing was checked and nothing timed.\n"


def _counted(epoch: object, trained: list[int]) -> object:
    def counting(self: object, batches: list[object], *given: object, **named: object) -> object:
        trained.append(len(batches))
        return epoch(self, batches, *given, **named)  # type: ignore[operator]

    return counting
