"""What the report shows, taken from the run directories: plain values, ready for a page."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

from shoal.errors import DamagedError, shown
from shoal.judging import is_loss
from shoal.names import GRAD_NORM, GRAD_NORM_CLIPPED, IMMATERIAL, LR, halved, repeats
from shoal.review.comparison import differing
from shoal.review.curves import MetricCurve, histories
from shoal.review.entries import Entry, RunEntry, SweepEntry, runs
from shoal.review.fit_lines import fit_lines
from shoal.review.importance import available, importance
from shoal.review.ranking import Ranking
from shoal.review.report.contents import HALVED, Picture, Repetitions, Report, Row, Setting
from shoal.review.report.environments import environments
from shoal.review.settings import read_settings
from shoal.review.show_run import command
from shoal.review.spread import over
from shoal.review.values import metric_of, ranked, ranking
from shoal.review.wording import settings as as_text
from shoal.rundir import Status, SweepDir

_POINTS = 200_000
"""Points of all learning curves together; beyond that each curve keeps fewer."""
_FEWEST = 20
"""Points of a curve at least, if it has so many."""
_METRICS = 6
_SETTINGS = 12
_LARGEST_FIGURE = 2_000_000
_PNG = b"\x89PNG\r\n\x1a\n"


def gather(entries: Sequence[Entry], *, title: str) -> Report:
    """Everything the page shows about these runs."""
    found = runs(entries)
    # Of several sweeps none says what all of them vary.
    sweep = entries[0] if len(entries) == 1 and isinstance(entries[0], SweepEntry) else None
    ranked_settings = ranking(found, tested=True)
    by = ranked_settings.yardstick if ranked_settings else None
    metric = by.metric if by else None
    completed = [run for run in found if run.status == Status.COMPLETED and not halved(run.reason)]
    order = ranked(completed, metric) if metric else []
    ordered = [*order, *(run for run in found if run not in order)]
    values = _values(ordered, [str(name) for name in sweep.info.varies] if sweep and sweep.info else [])
    settings = _settings(values, ordered)
    metrics = _metrics(ordered, metric)
    rows = [
        _row(run, index + 1 if index < len(order) else None, metric, metrics, [values[s.name][index] for s in settings])
        for index, run in enumerate(ordered)
    ]
    curves = _curves(ordered)
    return Report(
        title=title,
        task=", ".join(dict.fromkeys(run.task for run in found if run.task)),
        made=sweep.info.started if sweep and sweep.info else None,
        tags=_tags(entries),
        note=entries[0].summary.note if len(entries) == 1 and entries[0].summary else None,
        command=command(sweep.info) if sweep and sweep.info else "",
        n_pending=sweep.counts()["pending"] if sweep else 0,
        figure=_figure(SweepDir(sweep.path)) if sweep else None,
        metric=metric,
        rises=by is not None and by.way == "max",
        over=ranked_settings.over if ranked_settings else "",
        notes=[note for note in (by and by.note, ranked_settings and ranked_settings.verdict) if note],
        settings=settings,
        importance=importance(found) if available() else None,
        metrics=metrics,
        rows=rows,
        curves=curves,
        groups=_groups(ordered, ranked_settings, curves),
        pictures=_pictures(order, ranked_settings.first if ranked_settings else None, str(metric)),
        environment=environments(found),
    )


def _tags(entries: Sequence[Entry]) -> list[str]:
    """The tags that all of them have."""
    first, *others = [entry.summary.tags if entry.summary else [] for entry in entries]
    return [tag for tag in first if all(tag in tags for tags in others)]


def _figure(sweep: SweepDir) -> str | None:
    return sweep.figure.relative_to(sweep.path).as_posix() if sweep.figure.is_file() else None


def _values(entries: Sequence[RunEntry], varies: Sequence[str]) -> dict[str, list[Any]]:
    """What each run has under each name that differs: as the sweep says, else by config groups and settings."""
    if varies:
        return {
            name: [run.info.differs.get(name) if run.info else None for run in entries] for name in varies[:_SETTINGS]
        }
    rows = [*differing([_choices(run) for run in entries]), *differing([_configuration(run) for run in entries])]
    differ: dict[str, list[Any]] = {}
    # The shorter name first, which the longer one then follows.
    for name, values in sorted(rows, key=lambda row: row[0].count(".")):
        # `task.seed` is the run's own seed unless set: one column for both.
        follows = any(_word(other) == _word(name) and values == column for other, column in differ.items())
        if not follows and len({shown(value) for value in values if value is not None}) > 1:
            differ[name] = values
    return dict(list(differ.items())[:_SETTINGS])


def _word(name: str) -> str:
    """The last word of a name: task.seed follows seed, unless it is set."""
    return name.rsplit(".", 1)[-1]


def _choices(run: RunEntry) -> Mapping[str, Any]:
    return run.info.choices if run.info else {}


def _configuration(run: RunEntry) -> Mapping[str, Any]:
    """The settings of a run but for the classes, which the chosen groups name better."""
    try:
        settings = read_settings(run.path)
    except DamagedError:
        settings = run.info.differs if run.info else {}
    return {name: value for name, value in settings.items() if not name.endswith("_target_") and name not in IMMATERIAL}


def _settings(values: Mapping[str, Sequence[Any]], entries: Sequence[RunEntry]) -> list[Setting]:
    """Each setting that differs, repetitions last."""
    # As they were typed on the command line, which is the order of the jobs.
    by_job = sorted(range(len(entries)), key=lambda row: entries[row].path)
    settings = []
    for name, column in values.items():
        present = [value for value in column if value is not None]
        numeric = bool(present) and all(_is_number(value) for value in present)
        settings.append(
            Setting(
                name=name,
                numeric=numeric,
                logarithmic=numeric and min(present) > 0 and max(present) / min(present) >= 20,
                repeats=repeats(name),
                order=[] if numeric else list(dict.fromkeys(_shown(column[row]) for row in by_job)),
            )
        )
    return sorted(settings, key=lambda setting: setting.repeats)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _metrics(entries: Sequence[RunEntry], main: str | None) -> list[str]:
    names = dict.fromkeys(name for run in entries if run.info for name in run.info.final)
    quiet = (main, LR, GRAD_NORM, GRAD_NORM_CLIPPED)
    return [name for name in names if name not in quiet][:_METRICS]


def _row(run: RunEntry, rank: int | None, metric: str | None, metrics: Sequence[str], values: list[Any]) -> Row:
    info = run.info
    return Row(
        id=run.id,
        path=str(run.path),
        status=HALVED if run.status == Status.COMPLETED and halved(run.reason) else run.status,
        rank=rank,
        values=[_shown(value) for value in values],
        metric=_finite(metric_of(run, metric) if metric else None),
        finals=[_finite(info.final.get(name)) if info else None for name in metrics],
        epochs=info.epochs if info else None,
        seconds=info.seconds if info else None,
        command=command(info) if info else "",
        reason=run.reason or "",
    )


def _shown(value: Any) -> Any:
    """The value as the page has it."""
    return value if value is None or _is_number(value) else shown(value)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _curves(entries: Sequence[RunEntry]) -> dict[str, list[dict[str, list[float]] | None]]:
    """The curves of each metric; a run whose metrics.csv is damaged has none."""
    every = []
    for run in entries:
        try:
            every.append(histories(run))
        except DamagedError:
            every.append({})
    names = dict.fromkeys(name for each in every for name in each)
    # Losses first: of many metrics only a few are drawn.
    ordered = sorted(names, key=lambda name: not is_loss(name))[:_METRICS]
    # A page is mailed: its size is bounded, whatever the number of runs.
    points = max(_FEWEST, min(200, _POINTS // max(1, len(entries) * len(ordered))))
    return {name: _thinned([each.get(name) for each in every], points) for name in ordered}


def _thinned(curves: Sequence[MetricCurve | None], points: int) -> list[dict[str, list[float]] | None]:
    """About so many points of each curve, first and last among them, with five digits.

    They are points of the longest one where the curve has those: a mean needs runs of any length at the same places.
    """
    longest: MetricCurve | None = max(filter(None, curves), key=lambda curve: len(curve.x), default=None)
    shared = {longest.x[i] for i in _spaced(len(longest.x), points)} if longest else set()
    found: list[dict[str, list[float]] | None] = []
    for curve in curves:
        if curve is None:
            found.append(None)
            continue
        n = len(curve.x)
        kept = [i for i in range(n) if n <= points or curve.x[i] in shared or i in (0, n - 1)]
        kept = kept if n <= points or len(kept) >= _FEWEST else _spaced(n, points)
        found.append({"x": [curve.x[i] for i in kept], "y": [float(f"{curve.y[i]:.5g}") for i in kept]})
    return found


def _spaced(n: int, points: int) -> list[int]:
    """So many places of n, or all where there are no more."""
    return list(range(n)) if n <= points else [round(i * (n - 1) / (points - 1)) for i in range(points)]


def _groups(
    entries: Sequence[RunEntry],
    found: Ranking[RunEntry] | None,
    curves: Mapping[str, Sequence[dict[str, list[float]] | None]],
) -> list[Repetitions]:
    """The repetitions of each setting, the best mean first; where nothing ranks them each run is a group."""
    if found is None:
        return []
    rows = {id(run): row for row, run in enumerate(entries)}
    groups = []
    for setting in found.settings:
        members = sorted(rows[id(run)] for run in setting.members)
        drawn = {name: [curve for row in members if (curve := each[row])] for name, each in curves.items()}
        groups.append(
            Repetitions(
                label=as_text(setting.values, brief=True) or _alone(entries, members, len(found.settings)),
                rows=members,
                metric=setting.spread,
                first=rows[id(setting.runs[0])] if setting.runs else None,
                p=setting.p,
                curves={name: spread for name, each in drawn.items() if (spread := _spread(each))},
            )
        )
    return groups


def _alone(entries: Sequence[RunEntry], members: Sequence[int], n_settings: int) -> str:
    """What a group without settings is called."""
    return "all runs" if n_settings == 1 and len(members) > 1 else entries[members[0]].id


def _spread(curves: Sequence[Mapping[str, list[float]]]) -> dict[str, list[float]]:
    """Mean of the curves and one standard deviation around it, where all of them have a point."""
    if not curves:
        return {}
    columns: dict[float, list[float]] = {}
    for curve in curves:
        for x, y in zip(curve["x"], curve["y"], strict=True):
            columns.setdefault(x, []).append(y)
    # Where one run has stopped the mean would be one of the others.
    shared = {x: ys for x, ys in sorted(columns.items()) if len(ys) == len(curves)}
    spread: dict[str, list[float]] = {"x": list(shared), "mean": [], "low": [], "high": []}
    for ys in shared.values():
        found = over(ys)
        mean, deviation = found.mean, found.std if found.runs > 1 else 0.0
        # On a logarithmic axis a band must stay above zero: it ends at the smallest value seen.
        low = max(mean - deviation, min(ys))
        for name, value in (("mean", mean), ("low", low), ("high", mean + deviation)):
            spread[name].append(float(f"{value:.5g}"))
    return spread


def _pictures(order: Sequence[RunEntry], first: RunEntry | None, metric: str) -> list[Picture]:
    """The fits of the best run of the best setting and of the median run."""
    if not order:
        return []
    chosen = [("best", first or order[0])]
    if len(order) > 2:
        chosen.append(("median", order[len(order) // 2]))
    return [
        Picture(title=f"The {name} run by {metric}", run=run.id, data=_png(run), fit=_fit(run)) for name, run in chosen
    ]


def _fit(run: RunEntry) -> list[str]:
    return [*fit_lines(run.info.fit)] if run.info and run.info.fit else []


def _png(run: RunEntry) -> str | None:
    """The fit figure as base64. A link is not followed: a page that is passed on must not carry other files."""
    path = run.dir.fit_figure
    if path.is_symlink() or path.parent.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST_FIGURE:
        return None
    # Its first bytes tell whether it is a picture: any file may have this name.
    content = path.read_bytes()
    return base64.b64encode(content).decode() if content.startswith(_PNG) else None
