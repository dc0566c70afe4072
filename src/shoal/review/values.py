"""What can be asked of a run by name: its fields, its metrics, the chosen groups and the settings of its config."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from shoal import judging
from shoal.errors import DamagedError, UsageError, shown, suggestion
from shoal.judging import Yardstick, direction, measured, place
from shoal.review.entries import Entry, RunEntry, SweepEntry, runs
from shoal.review.ranking import Ranking, rank
from shoal.review.settings import read_settings
from shoal.rundir import ListedRun

Value = int | float | str | None
"""A bool is 0 or 1, a list or a mapping its text."""

_PLAIN = frozenset((int, float, str))
AT_BEST = "best:"
"""Before the name of a metric: its value in the run's best state, where the name alone is the last value."""


def _best(entry: Entry) -> float | None:
    if isinstance(entry, SweepEntry):
        found = ranking(entry.runs)
        return metric_of(found.first, found.yardstick.metric) if found and found.first else None
    return entry.summary.best.value if entry.summary and entry.summary.best else None


def _at_best(entry: Entry, metric: str) -> float | None:
    run = best_run(entry.runs, metric) if isinstance(entry, SweepEntry) else entry
    return metric_of(run, metric) if run else None


def _seconds(entry: Entry) -> float | None:
    return entry.summary.seconds if entry.summary else None


def age(entry: Entry) -> float | None:
    """Seconds since a run or sweep began; where it cannot say so itself, by the time in its id."""
    try:
        if entry.summary and entry.summary.started:
            began = datetime.fromisoformat(entry.summary.started)
        else:
            began = datetime.strptime(entry.id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return (datetime.now(UTC) - began.astimezone(UTC)).total_seconds()


def _of_run(name: str) -> Callable[[Entry], Any]:
    def value(entry: Entry) -> Any:
        if not isinstance(entry, RunEntry):
            return None
        # The rest of run.json is decoded only where one of its fields is asked for.
        return getattr(entry.summary if name in ListedRun.__dataclass_fields__ else entry.info, name, None)

    return value


def _of_best(name: str) -> Callable[[Entry], Any]:
    def value(entry: Entry) -> Any:
        best = _of_run("best")(entry)
        return getattr(best, name) if best else None

    return value


def _of_git(name: str) -> Callable[[Entry], Any]:
    return lambda entry: (_of_run("git")(entry) or {}).get(name)


FIELDS: dict[str, Callable[[Entry], Any]] = {
    "id": lambda entry: entry.id,
    "task": lambda entry: entry.task,
    "status": lambda entry: entry.status,
    "age": age,
    "best": _best,
    "best.metric": _of_best("metric"),
    "best.epoch": _of_best("epoch"),
    "best.step": _of_best("step"),
    "time": _seconds,
    "path": lambda entry: str(entry.path),
    "reason": lambda entry: entry.reason,
    "tags": lambda entry: ", ".join(entry.summary.tags) if entry.summary else None,
    "note": lambda entry: entry.summary.note if entry.summary else None,
    "started": lambda entry: entry.summary.started if entry.summary else None,
    "ended": lambda entry: entry.info.ended if entry.info else None,
    "host": lambda entry: entry.summary.host if entry.summary else None,
    "git.commit": _of_git("commit"),
    "git.dirty": _of_git("dirty"),
    **{
        name: _of_run(name)
        for name in ("engine", "seed", "sweep", "job", "epochs", "steps", "sessions", "parameters", "trainable")
    },
}
"""The fields of every run; durations are in seconds."""


class Values:
    """The named values of some runs. A config.yaml is opened only when a name is asked for that nothing else has."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self._settings: list[dict[str, Any]] | None = None

    @cached_property
    def metrics(self) -> list[str]:
        """The metrics that some run has. A sweep's row is empty where its runs have a value."""
        return _united(run.summary.final for run in runs(self.entries) if run.summary)

    @cached_property
    def choices(self) -> list[str]:
        """The config groups in which some run chose an option. No name of a group has a dot."""
        return _united(run.info.choices for run in runs(self.entries) if run.info)

    def __contains__(self, name: str) -> bool:
        # From the cheapest to the dearest: settings are read from a file of every run.
        if name in FIELDS or name.removeprefix(AT_BEST) in self.metrics or self._is_group(name):
            return True
        return any(name in settings for settings in self.settings())

    def column(self, name: str) -> list[Value]:
        """The value that each run has under this name, None where it has none.

        Raises:
            UsageError: where no run has it.
        """
        if name in FIELDS:
            values = map(FIELDS[name], self.entries)
            return [value if type(value) in _PLAIN else plain(value) for value in values]
        if name.startswith(AT_BEST) and name in self:
            return [_at_best(entry, name.removeprefix(AT_BEST)) for entry in self.entries]
        if name in self.metrics:
            summaries = (entry.summary if isinstance(entry, RunEntry) else None for entry in self.entries)
            return [summary.final.get(name) if summary else None for summary in summaries]
        if self._is_group(name):
            infos = (entry.info if isinstance(entry, RunEntry) else None for entry in self.entries)
            return [info.choices.get(name) if info else None for info in infos]
        if name not in self:
            raise UsageError(f"no run has {name}", hint=self.alternatives(name))
        return [plain(settings.get(name)) for settings in self.settings()]

    def _is_group(self, name: str) -> bool:
        return "." not in name and name in self.choices

    def alternatives(self, name: str) -> str:
        """The nearest name that some run has, and where the others are listed."""
        from shoal.errors import nearest

        names = {*FIELDS, *self.metrics, *self.choices, *(name for each in self.settings() for name in each)}
        guess = nearest(name, names)
        metrics = f"metrics: {', '.join(sorted(self.metrics))}" if self.metrics else "there are no metrics"
        return f"did you mean {guess}? {metrics}" if guess else f"{metrics}; settings: see shoal show"

    def settings(self) -> list[dict[str, Any]]:
        """The settings of each run; a run whose config.yaml is damaged has none."""
        if self._settings is None:
            self._settings = [_settings(entry) for entry in self.entries]
        return self._settings


def _united(mappings: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names in the mappings, each once. Most of ten thousand have the same names, which are looked at once."""
    return list(dict.fromkeys(name for names in dict.fromkeys(map(tuple, mappings)) for name in names))


def plain(value: Any) -> Value:
    """A value as SQLite compares it in a query."""
    if value is None or type(value) in _PLAIN:
        return value  # type: ignore[no-any-return]
    return int(value) if isinstance(value, bool) else shown(value)


def metric_of(run: RunEntry, name: str) -> float | None:
    """The metric of the run's best state; its last value where it has none."""
    return measured(run.summary, name) if run.summary else None


def yardstick(entries: Iterable[Entry]) -> Yardstick | None:
    """What to compare the runs by; see `judging.yardstick`."""
    return judging.yardstick(run.summary for run in runs(entries) if run.summary)


def main_metric(entries: Iterable[Entry]) -> str | None:
    """The metric to compare the runs by."""
    found = yardstick(entries)
    return found.metric if found else None


def rises(name: str, entries: Iterable[RunEntry]) -> bool:
    """Whether the larger value of a metric is the better one: as the runs that monitored it say, else by its name."""
    for run in entries:
        if run.summary and run.summary.best and run.summary.best.metric == name:
            return run.summary.best.mode == "max"
    return direction(name) == "max"


def ranked(entries: Sequence[RunEntry], metric: str) -> list[RunEntry]:
    """The runs that have a finite value of the metric, the best first, whatever their settings."""
    way = "max" if rises(metric, entries) else "min"
    scored = [(value, run) for run in entries if (value := metric_of(run, metric)) is not None and math.isfinite(value)]
    return [run for _, run in sorted(scored, key=lambda pair: place(pair[0], way))]


def ranking(
    entries: Iterable[RunEntry], metric: str | None = None, *, tested: bool = False
) -> Ranking[RunEntry] | None:
    """The settings of the runs, the best mean over seeds and folds first: by this metric, else by their yardstick.

    Runs of two sweeps are never of one setting. `tested` compares the settings with the first.
    """
    every = list(entries)
    known = [(run, run.summary, _family(run)) for run in every if run.summary]
    by = Yardstick(metric, "max" if rises(metric, every) else "min") if metric else None
    return rank(known, by, tested=tested)


def _family(run: RunEntry) -> str:
    """The sweep that a run belongs to; of runs alone nothing."""
    return str(run.path.parent) if run.summary and run.summary.job is not None else ""


def best_run(entries: Iterable[RunEntry], metric: str | None = None) -> RunEntry | None:
    """The best run of the setting with the best mean over seeds and folds, by this metric or by their yardstick.

    Where none was trained to the end, the best of those that were not.
    """
    every = list(entries)
    found = ranking(every, metric)
    if found is None or found.first is not None:
        return found.first if found else None
    return next(iter(ranked(every, found.yardstick.metric)), None)


def unknown_status(status: str, statuses: Iterable[str]) -> UsageError:
    """The error for a status that no run can have."""
    return UsageError(f"no run can have the status {status}", hint=suggestion(status, statuses))


def _settings(entry: Entry) -> dict[str, Any]:
    if not isinstance(entry, RunEntry):
        return {}
    try:
        return read_settings(entry.path)
    except DamagedError:
        return {}
