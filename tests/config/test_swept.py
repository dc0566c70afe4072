"""A swept setting without a value is refused in one sentence, whichever sweeper is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from commands import trained
from shoal.config.multirun.swept import n_values

SWEEPERS = [["hydra/sweeper=basic"], ["hydra/sweeper=optuna", "sweep.n_trials=2"], ["sweep.n_samples=2"]]
EMPTY = {
    "seed=range(0,1,0)": "seed=range(0,1,0) (command line): has a step of 0 and would never end",
    "optimizer.lr=range(0,1,0.0)": "has a step of 0 and would never end",
    "seed=range(3,1)": "seed=range(3,1) (command line): gives no values: the sweep has 0 jobs",
    "optimizer.lr=range(0.1,0.01,0.01)": "gives no values",
    "seed=shuffle(range(0,0))": "gives no values",
    "seed=glob(*)": "seed=glob(*) (command line): matches the names of choices, and seed has none",
    "task.seed=glob(*)": "task.seed has none",
    "model=glob(zz*)": "model=glob(zz*) (command line): gives no values: the sweep has 0 jobs\n  available: affine",
    "optimizer.lr=range(0,1,1e-12)": "has 1,000,000,000,001 values",
}


CASES = [(override, []) for override in EMPTY]
CASES += [(override, sweeper) for override in ("seed=range(0,1,0)", "seed=glob(*)") for sweeper in SWEEPERS]


@pytest.mark.parametrize(("override", "sweeper"), CASES)
def test_a_sweep_without_jobs_is_refused_by_every_sweeper(override: str, sweeper: list[str], workdir: Path) -> None:
    ended = trained("-m", "task=parabola", override, *sweeper)

    assert ended.returncode == 2
    assert EMPTY[override] in ended.stderr
    assert len(ended.stderr.strip().splitlines()) <= 3
    assert not (workdir / "outputs").exists()


@pytest.mark.parametrize("text", ["range(0,10)", "range(0,1,0.1)", "range(1,0,-0.3)", "range(5,5)", "range(0,7,2)"])
def test_the_values_of_a_range_are_counted_as_they_come(text: str) -> None:
    (override,) = OverridesParser.create().parse_overrides([f"x={text}"])

    assert n_values(override) == len(list(override.sweep_string_iterator()))
