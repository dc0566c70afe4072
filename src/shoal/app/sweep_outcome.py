"""What a sweep as a whole is expected to show, beside what it has; and its curves in one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shoal.app.expect import Expectation, compared, compared_over, expectations
from shoal.errors import shown
from shoal.rundir import History, RunDir, RunInfo, Status, SweepDir, read_history, write_bytes

Finished = tuple[RunInfo, History]


def finished(runs: Mapping[Path, RunInfo]) -> list[Finished]:
    """The runs that have completed, each with its history."""
    return [
        (info, read_history(RunDir(path).history)) for path, info in runs.items() if info.status is Status.COMPLETED
    ]


def expected(runs: Sequence[Finished], node: Any) -> list[dict[str, Any]]:
    """What is expected of each run, counted, and of all of them together, beside what was measured."""
    wanted = expectations(node)
    if not wanted or not runs:
        return []
    each = [_of_each(one, runs) for one in wanted if one.over is None]
    return [*each, *(outcome.plain() for outcome in compared_over(wanted, runs))]


def draw(sweep: SweepDir, runs: Sequence[Finished], metrics: Sequence[str], varies: Sequence[str]) -> Path | None:
    """The curves of these metrics in one figure, a color for each value of the first setting that is no seed."""
    if not metrics or not runs:
        return None
    from shoal.record.curves import curves_figure
    from shoal.record.figures import png

    key = next((name for name in varies if name.rpartition(".")[2] != "seed"), None)
    groups: dict[str, list[History]] = {}
    for info, history in runs:
        groups.setdefault(f"{key}={shown(info.differs.get(key))}" if key else info.task, []).append(history)
    path = sweep.path / "figures" / "curves.png"
    write_bytes(path, png(curves_figure(groups, metrics, title=f"{runs[0][0].task}  {sweep.path.name}")))
    return path


def _of_each(wanted: Expectation, runs: Sequence[Finished]) -> dict[str, Any]:
    """One expectation of every run: the outcome of the first that misses it, else of the first."""
    outcomes = [outcome for info, history in runs for outcome in compared([wanted], info, history)]
    missed = [outcome for outcome in outcomes if not outcome.holds]
    if not outcomes:
        problem = "no run has these settings"
        return {"metric": wanted.name, "expected": wanted.wanted, "measured": None, "holds": False, "problem": problem}
    told = (missed or outcomes)[0].plain()
    return {**told, "metric": f"{told['metric']} in {len(outcomes) - len(missed)} of {len(outcomes)} runs"}
