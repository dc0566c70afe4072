"""Training from Python: the same code path as the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import RLock

from shoal.app.train import EndedSweep, resumed
from shoal.app.train import train as carry_out
from shoal.config.fit_words import fit_words
from shoal.config.origins import COMMAND_LINE
from shoal.config.quoting import quoted
from shoal.errors import ConfigError, UsageError
from shoal.loaded.run import Run
from shoal.loaded.sweep import Sweep

_ONE_AT_A_TIME = RLock()
"""Hydra, the random numbers of torch and the handlers of signals belong to the whole process: threads take turns."""


def train(overrides: Sequence[str] = (), *, config_dir: str | Path | None = None) -> Run | Sweep:
    """Train a run as the command line does: `train(["task=parabola", "optimizer.lr=0.01"])`.

    With `resume=PATH` it goes on with the run, or the sweep, in that directory.

    Raises:
        ConfigError: where the configuration is wrong; nothing was written.
        ShoalError: where the run failed or diverged; it is recorded.
    """
    return _trained("shoal.train", overrides, config_dir, multirun=False)


def fit(
    table: str | Path,
    formula: str,
    start: Mapping[str, float],
    overrides: Sequence[str] = (),
    *,
    config_dir: str | Path | None = None,
) -> Run:
    """Fit a formula to a table, as `shoal fit` does: `fit("data.csv", "y = a*exp(-k*x)", {"a": 1, "k": 0.1})`.

    `start` has the value that each parameter begins with. What came of it is in `Run.info.fit`.

    Raises:
        ConfigError, UsageError: where the formula or a setting is wrong; nothing was written.
        ShoalError: where the run failed or diverged; it is recorded.
    """
    words = [*(f"{name}={value}" for name, value in start.items()), *overrides]
    found = _trained("shoal.fit", fit_words(Path(table), formula, words), config_dir, multirun=False)
    assert isinstance(found, Run)
    return found


def sweep(overrides: Sequence[str] = (), *, config_dir: str | Path | None = None) -> Sweep:
    """Train every combination as `-m` does: `sweep(["task=parabola", "optimizer.lr=1e-3,1e-2", "seed=range(8)"])`.

    A run that fails or diverges does not end the others: `Sweep.table` says what became of each.

    Raises:
        ConfigError: where the configuration of any job is wrong; nothing was trained.
        UsageError: where `resume` is among the overrides: `train` goes on with a sweep.
        ShoalError: where the sweep was interrupted; it is recorded.
    """
    path, _ = resumed(overrides)
    if path is not None:
        raise UsageError(
            f"shoal.sweep begins a sweep, and resume={path} goes on with one",
            hint=f'shoal.train(["resume={path}"]) goes on with it, and does what is missing',
        )
    found = _trained("shoal.sweep", overrides, config_dir, multirun=True)
    assert isinstance(found, Sweep)
    return found


def _trained(caller: str, overrides: Sequence[str], config_dir: str | Path | None, *, multirun: bool) -> Run | Sweep:
    # As the command line does: formulas may be given without quotes of Hydra's.
    words = quoted(overrides)
    with _ONE_AT_A_TIME:
        return _carried_out(caller, words, config_dir, multirun=multirun)


def _carried_out(caller: str, words: list[str], config_dir: str | Path | None, *, multirun: bool) -> Run | Sweep:
    folder = str(config_dir) if config_dir else None
    try:
        ended = carry_out(words, multirun=multirun, config_dir=folder, command=[caller, *words])
    except ConfigError as error:
        # There is no command line: what was wrong is in the call.
        raise error.at(source=(error.source or "").replace(COMMAND_LINE, caller)) from error
    return Sweep(ended.path) if isinstance(ended, EndedSweep) else Run(ended.path)
