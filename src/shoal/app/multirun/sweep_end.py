"""The end of a sweep: its figures, and what was expected of it compared with what was measured."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoal.build.checked_job import job as build
from shoal.build.expectations import Expectation, compared, compared_over, expectations
from shoal.errors import shown
from shoal.judging import Yardstick, measured, place
from shoal.names import VAL_LOSS, halved, repeated_over, repeats
from shoal.review.ranking import Ranking
from shoal.rundir import (
    History,
    RunDir,
    RunInfo,
    Status,
    SweepDir,
    SweepInfo,
    read_config,
    read_history,
    read_intact,
    write_bytes,
)
from shoal.rundir.log import quiet_logging
from shoal.startup.collecting import uncollected
from shoal.sweeps.processes import Beside, at_once
from shoal.sweeps.summary import ranked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from shoal.record.figures.sweep_contents import Leader

Finished = tuple[RunInfo, History]
MANY = range(64, 5_000)
"""Numbers of runs for which it is worth a process to draw pictures side by side: it is told of each of them."""


class Closing:
    """The runs of a sweep at its end; `results` has what run.json says, by the number of the job."""

    def __init__(self, sweep: SweepDir, info: SweepInfo, results: Mapping[int, RunInfo]) -> None:
        self.sweep = sweep
        self.info = info
        self.results = results
        self.jobs = {job.number: job for job in info.jobs if job.number in results}

    def expected(self, nodes: Mapping[int, Any]) -> list[dict[str, Any]]:
        """Compare what is expected of each run, and of all that expect the same together, with what was measured.

        `nodes` has what each job's configuration expects, by its number.
        """
        alike: dict[str, list[int]] = {}
        for number in self.jobs:
            # Nothing is read for nothing: the histories of thousands of runs take their time.
            if (node := nodes.get(number)) and self.results[number].status is Status.COMPLETED:
                alike.setdefault(repr(node), []).append(number)
        return [
            {**each, "metric": each["metric"] + (f", {self.jobs[numbers[0]].run}" if len(alike) > 1 else "")}
            for numbers in alike.values()
            for each in _compared(nodes[numbers[0]], [self._completed[number] for number in numbers])
        ]

    def draw(self, curves: Sequence[str], beside: Beside) -> list[Path]:
        """Draw the sweep, the curves of these metrics, and what its best and its median run have learned."""
        found: list[Path] = beside.done(self._drawn, curves)
        return found

    def _drawn(self, curves: Sequence[str]) -> list[Path]:
        # Of each run there and of the sweep here, where there can be copies of what has matplotlib: each takes as long.
        with ExitStack() as beside:
            for run in self._without_fit():
                beside.enter_context(at_once(_illustrate, run))
            drawn = [self._overview()]
            if curves and self._completed:
                drawn.append(self._curves(curves))
        return drawn

    @cached_property
    def _completed(self) -> dict[int, Finished]:
        """The runs that have completed, each with its history."""
        paths = {number: self.sweep.run(job) for number, job in self.jobs.items()}
        return {
            number: (info, read_history(paths[number].history))
            for number, info in self.results.items()
            if info.status is Status.COMPLETED
        }

    @cached_property
    def _ranking(self) -> Ranking[int] | None:
        """The settings, the best one first."""
        return ranked(self.info, self.results)

    @cached_property
    def _yardstick(self) -> Yardstick:
        return self._ranking.yardstick if self._ranking else Yardstick(VAL_LOSS, "min")

    @cached_property
    def _values(self) -> dict[int, float]:
        """What each completed run has come to, the best run first, without those that have come to no finite number."""
        metric, way = self._yardstick.metric, self._yardstick.way
        done = {number: run for number, run in self.results.items() if run.status is Status.COMPLETED}
        every = [(number, measured(run, metric)) for number, run in done.items()]
        known = [(number, value) for number, value in every if value is not None and math.isfinite(value)]
        return dict(sorted(known, key=lambda pair: (place(pair[1], way), pair[0])))

    def _overview(self) -> Path:
        from shoal.pictures import rendering

        write_bytes(self.sweep.figure, rendering.png(self.figure()))
        return self.sweep.figure

    def figure(self) -> Figure:
        """The metric against each swept setting, and learning curves."""
        from shoal.record.figures.sweep_contents import Drawn, Wording
        from shoal.record.figures.sweep_curves import MOST_CURVES
        from shoal.record.figures.sweep_figure import sweep_figure

        metric = self._yardstick.metric
        settings = [key for key in self.info.varies if not repeats(key)]
        # From the best to the worst, evenly: what is left out looks as what is shown.
        with_curve = list(self._values)[:: max(1, math.ceil(len(self._values) / MOST_CURVES))]
        curves = {number: self._curve(number, metric) for number in with_curve}
        drawn = [
            Drawn(
                run=job.run,
                settings={key: job.differs.get(key) for key in settings},
                value=self._values.get(number),
                halved=halved(self.results[number].reason),
                curve=curves.get(number, ()),
            )
            for number, job in self.jobs.items()
        ]
        wording = Wording(
            title=self._title(), metric=metric, rises=self._yardstick.way == "max", repeats=self._repeats()
        )
        return sweep_figure(drawn, settings, wording, self._leader())

    def _leader(self) -> Leader | None:
        """The best setting, and the run that stands for it."""
        from shoal.record.figures.sweep_contents import Leader

        found = self._ranking
        if found is None or found.first is None:
            return None
        job, setting = self.jobs[found.first], found.settings[0]
        value = setting.spread.mean if found.over else self._values[found.first]
        over = f"best mean over {found.over}" if found.over else None
        return Leader(run=job.run, settings=job.differs, value=value, over=over)

    def _curve(self, number: int, metric: str) -> list[tuple[float, float]]:
        from shoal.record.figures.sweep_curves import curve

        # Intact rows only: a damaged line of one run is no reason for no figure.
        history, _ = read_intact(self.sweep.run(self.jobs[number]).history)
        return curve(history.rows, metric)

    def _title(self) -> str:
        bad = Counter[str](run.status for run in self.results.values() if run.status is not Status.COMPLETED)
        n_halved = sum(halved(run.reason) for run in self.results.values())
        bad.update({"stopped by halving": n_halved} if n_halved else {})
        counts = "".join(f", {n} {status}" for status, n in bad.items())
        n = len(self.results)
        return f"{self.info.task}  {self.sweep.path.name}: {n} {'run' if n == 1 else 'runs'}{counts}"

    def _repeats(self) -> str:
        """What the runs of one configuration differ in."""
        return repeated_over(self.info.varies) or "runs"

    def _without_fit(self) -> list[RunDir]:
        """The best run and the median run, where there is no picture yet of what they have learned."""
        order = [number for number in self._values if not halved(self.results[number].reason)]
        first = self._ranking.first if self._ranking else None
        # Once where the best is the median.
        numbers = dict.fromkeys([order[0] if first is None else first, order[len(order) // 2]] if order else [])
        runs = [self.sweep.run(self.jobs[number]) for number in numbers]
        return [run for run in runs if not run.fit_figure.exists()]

    def _curves(self, metrics: Sequence[str]) -> Path:
        """The curves of these metrics, a color for each value of the first setting that is more than a repeat."""
        from shoal.pictures import rendering
        from shoal.record.figures.metric_curves import curves_figure

        key = next((name for name in self.info.varies if not repeats(name)), None)
        groups: dict[str, list[History]] = {}
        for info, history in self._completed.values():
            groups.setdefault(f"{key}={shown(info.differs.get(key))}" if key else info.task, []).append(history)
        path = self.sweep.figure.with_name("curves.png")
        title = f"{self.info.task}  {self.sweep.path.name}"
        write_bytes(path, rendering.png(curves_figure(groups, metrics, title=title)))
        return path


def get_ready_to_draw(n: int, beside: Beside) -> None:
    """Import what draws, which takes as long as a picture, before there is something to draw of so many runs."""
    if n not in MANY or not beside.begin(_import_figures):
        _import_figures()


def _import_figures() -> None:
    # Thousands of jobs are looked through for garbage else, on whichever of matplotlib's classes that comes.
    with uncollected(), suppress(Exception):  # whatever it is: it is told where it draws
        import shoal.pictures.rendering
        import shoal.record.figures.run_figure
        import shoal.record.figures.sweep_figure  # noqa: F401


def _illustrate(run: RunDir) -> None:
    """Draw what a run has learned, as for one that is no part of a sweep."""
    from shoal.record.figures.run_figure import illustrate_later

    with quiet_logging():
        illustrate_later(run, build(read_config(run.config)))


def _compared(node: Any, runs: Sequence[Finished]) -> list[dict[str, Any]]:
    """What some runs expect beside what each of them, and all of them together, have measured."""
    wanted = expectations(node)
    each = [_of_each(one, runs) for one in wanted if one.over is None]
    return [*each, *(outcome.plain() for outcome in compared_over(wanted, runs))]


def _of_each(wanted: Expectation, runs: Sequence[Finished]) -> dict[str, Any]:
    """One expectation of every run: the outcome of the first that misses it, else of the first."""
    outcomes = [outcome for info, history in runs for outcome in compared([wanted], info, history)]
    missed = [outcome for outcome in outcomes if not outcome.holds]
    if not outcomes:
        problem = "no run has these settings"
        return {"metric": wanted.name, "expected": wanted.wanted, "measured": None, "holds": False, "problem": problem}
    told = (missed or outcomes)[0].plain()
    return {**told, "metric": f"{told['metric']} in {len(outcomes) - len(missed)} of {len(outcomes)} runs"}
