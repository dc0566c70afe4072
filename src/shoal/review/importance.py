"""How much each setting of a sweep mattered: what a forest loses when the values of that setting are shuffled.

Permutation importance, Breiman (2001), Random forests, Machine Learning 45, 5-32, on runs that the forest has not seen;
of the order of the runs rather than of their metric, so that a few very bad runs do not hide the rest.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from shoal.errors import UsageError, shown
from shoal.judging import place
from shoal.names import halved
from shoal.review.entries import RunEntry
from shoal.review.values import metric_of, yardstick
from shoal.review.wording import counted
from shoal.rundir import Status

NEEDED = "shoal[importance]"
LEAST = 20
"""Runs, below which a forest sees nothing."""
_FOLDS = 5
_TREES = 100
_SHUFFLES = 5


@dataclass(frozen=True)
class Importance:
    """The share of each setting in what the settings explain, the greatest first."""

    shares: Mapping[str, float]
    explained: float
    """How much of the order of runs it has not seen the forest foretells: 1 all, 0 nothing (R2)."""
    n: int
    """Runs."""

    @property
    def told(self) -> str:
        """On what it rests."""
        if not self.shares:
            return f"the settings foretell nothing of the order of {counted(self.n, 'run')}"
        return f"together they foretell {self.explained:.0%} of the order of {counted(self.n, 'run')}"


def available() -> bool:
    """Whether what computes it is installed."""
    return find_spec("sklearn") is not None


def importance(runs: Sequence[RunEntry]) -> Importance | None:
    """How much each setting mattered; None where fewer than two settings differ, or there are too few runs.

    Raises:
        UsageError: where scikit-learn is missing.
    """
    by = yardstick(runs)
    known = [run for run in runs if run.info and _counts(run)]
    if by is None or len(known) < LEAST:
        return None
    columns = _columns([run.info.differs if run.info else {} for run in known])
    if len(columns) < 2:
        return None
    if not available():
        raise UsageError("the importance of settings needs scikit-learn", hint=f"pip install '{NEEDED}'")
    return _of_columns(columns, [place(metric_of(run, by.metric), by.way) for run in known])


def _counts(run: RunEntry) -> bool:
    """Whether the run came to something that can be compared."""
    return run.status == Status.DIVERGED or (run.status == Status.COMPLETED and not halved(run.reason))


def _columns(differs: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Each setting that differs, as numbers: others than numbers by the order of their texts."""
    columns: dict[str, list[float]] = {}
    for name in dict.fromkeys(name for each in differs for name in each):
        values = _numbers([each.get(name) for each in differs])
        if len(set(values)) > 1:
            columns[name] = values
    return columns


def _numbers(values: Sequence[Any]) -> list[float]:
    if all(isinstance(value, int | float) for value in values):
        return [float(value) for value in values]
    # A forest splits by order, so that any order of names will do.
    texts = [shown(value) for value in values]
    order = {text: float(code) for code, text in enumerate(sorted(set(texts)))}
    return [order[text] for text in texts]


def _of_columns(columns: Mapping[str, Sequence[float]], places: Sequence[tuple[int, float]]) -> Importance:
    import numpy
    from scipy.stats import rankdata
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import KFold

    x = numpy.array(list(columns.values())).T
    order = {each: position for position, each in enumerate(sorted(set(places)))}
    # Ranks: a metric may have any scale, and runs that diverged are simply last.
    y = rankdata([order[each] for each in places])
    lost, off = numpy.zeros(x.shape[1]), 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about folds in which all runs are alike
        # Every run is foretold once by a forest that has not seen it.
        for train, test in KFold(_FOLDS, shuffle=True, random_state=0).split(x):
            forest = RandomForestRegressor(_TREES, random_state=0).fit(x[train], y[train])
            off += float(((forest.predict(x[test]) - y[test]) ** 2).sum())
            shuffled = permutation_importance(
                forest, x[test], y[test], scoring="neg_mean_squared_error", n_repeats=_SHUFFLES, random_state=0
            )
            # A fold counts by how many runs it has.
            lost += shuffled.importances_mean * len(test)
    spread = float(((y - y.mean()) ** 2).sum())
    explained = 1 - off / spread if spread else 0.0
    # Below zero is chance.
    lost = numpy.clip(lost, 0, None)
    if explained <= 0 or not lost.sum():
        return Importance({}, 0.0, len(y))
    shares = dict(zip(columns, (lost / lost.sum()).tolist(), strict=True))
    return Importance(dict(sorted(shares.items(), key=lambda each: -each[1])), explained, len(y))
