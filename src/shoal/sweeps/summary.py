"""What a sweep has shown: the best runs, mean and spread over seeds and folds, failures; as text and as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from shoal.errors import shown
from shoal.judging import measured
from shoal.names import GRAD_NORM, GRAD_NORM_CLIPPED, LR, halved, repeats
from shoal.review.ranking import Ranking, rank
from shoal.review.spread import HEADS, over
from shoal.review.wording import chance, counted, cut, outcomes
from shoal.rundir import RunInfo, Status, SweepDir, SweepInfo, write_text

TOP = 5


def summarize(sweep: SweepDir, info: SweepInfo, results: Mapping[int, RunInfo]) -> str:
    """Write summary.csv; the text for the terminal."""
    found = ranked(info, results)
    write_text(sweep.summary, table(info, results, found))
    lines = [*(_best(info, results, found) if found and found.order else []), *_failures(info, results)]
    lines.append(f"{counted(len(info.jobs), 'run')}: {_outcomes(info, results)}, in {info.seconds:.1f} s")
    lines.append(f"  {sweep.summary}")
    return "\n".join(lines)


def table(info: SweepInfo, results: Mapping[int, RunInfo], found: Ranking[int] | None) -> str:
    """summary.csv: a row a job with what differs, its status, its best and final metrics.

    Where several runs are the same but for seed and fold, mean and spread of what they came to stand in each of them.
    Runs of different losses have what they are compared by, as it was at their best, in a column of its own.
    """
    names = sorted({name for run in results.values() for name in run.final})
    shared = found.yardstick.metric if found and found.yardstick.losses else None
    spreads = ["best_mean", "best_std", "best_runs"] if found and found.over else []
    text = io.StringIO()
    judged = ["best", "best_epoch", *([f"{shared} at best"] if shared else []), *spreads]
    columns = ["job", "run", *info.varies, "status", *judged, "epochs", "steps", "seconds", *names, "reason"]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    of = {
        number: setting.spread
        for setting in (found.settings if spreads and found else ())
        for number in setting.members
    }
    for job in info.jobs:
        row: dict[str, Any] = {
            "job": job.number,
            "run": job.run,
            "status": job.status or "",
            "reason": job.reason or "",
        }
        # A job of an earlier launch may differ in more than varies now, for which there is no column.
        row |= {key: shown(value) for key, value in job.differs.items() if key in info.varies}
        run = results.get(job.number)
        if (spread := of.get(job.number)) and spread.of:
            row |= dict(zip(spreads, (spread.mean, spread.std, spread.runs), strict=True))
        if run:
            best: dict[str, Any] = {"best": run.best.value, "best_epoch": run.best.epoch} if run.best else {}
            best |= {f"{shared} at best": measured(run, shared)} if shared else {}
            row |= best | {"epochs": run.epochs, "steps": run.steps, "seconds": round(run.seconds, 3)} | run.final
        writer.writerow(row)
    return text.getvalue()


def spans(numbers: Sequence[int]) -> str:
    """`0-63, 70`."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][-1] == number - 1:
            # A span has its first number and its last one.
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ", ".join("-".join(map(str, part)) for part in parts)


def ranked(info: SweepInfo, results: Mapping[int, RunInfo]) -> Ranking[int] | None:
    """The settings of a sweep's runs, by the numbers of their jobs, compared with the best one."""
    # A run that was there before the sweep was given further values does not say in what it differs from those.
    differs = {job.number: job.differs for job in info.jobs}
    runs = [(number, replace(run, differs=differs[number])) for number, run in results.items() if number in differs]
    return rank([(number, run, "") for number, run in runs], tested=True)


def _best(info: SweepInfo, results: Mapping[int, RunInfo], found: Ranking[int]) -> list[str]:
    """The best settings with mean and spread over seeds and folds, or where each has one run the best runs."""
    note = [f"  {found.yardstick.note}"] if found.yardstick.note else []
    if not found.over:
        return [*_best_runs(info, results, found), *note, *_verdict(found)]
    if len(found.settings) == 1:
        return [*_over_repeats(results, found), *note, _best_run(info, results, found)]
    title, *rows = _best_settings(info, found)
    title += "" if _have_best(results) else ", in the end: what they monitored was never a number"
    return [title, *rows, *note, *_verdict(found), _best_run(info, results, found)]


def _best_runs(info: SweepInfo, results: Mapping[int, RunInfo], found: Ranking[int]) -> list[str]:
    order, metric = found.order, found.yardstick.metric
    rows = [["run", *info.varies, metric, "epoch"]]
    names = {job.number: job for job in info.jobs}
    for number in order[:TOP]:
        run = results[number]
        settings = [shown(names[number].differs.get(key, ""), brief=True) for key in info.varies]
        rows.append([names[number].run, *settings, f"{measured(run, metric):.6g}", str(_epoch(run))])
    title = f"best of {counted(len(order), 'run')} by {metric} {_state(results)}"
    return [title, *_aligned(rows), *(f"  {line}" for line in cut(len(rows) - 1, len(order)))]


def _best_settings(info: SweepInfo, found: Ranking[int]) -> list[str]:
    keys = [key for key in info.varies if not repeats(key)]
    told = [setting for setting in found.settings if setting.spread.of]
    rows = [[*keys, *HEADS, "halved", "p"]]
    for setting in told[: 4 * TOP]:
        values = [shown(setting.values.get(key, ""), brief=True) for key in keys]
        rows.append([*values, *setting.spread.cells, str(setting.halved or ""), chance(setting.p)])
    title = f"best of {counted(len(told), 'setting')} by the mean {found.yardstick.metric} over {found.over}"
    return [title, *_aligned(_filled(rows)), *(f"  {line}" for line in cut(len(rows) - 1, len(told)))]


def _over_repeats(results: Mapping[int, RunInfo], found: Ranking[int]) -> list[str]:
    """Mean and spread of every metric of a single configuration."""
    # What halving has stopped says how far it came, not how good the setting is.
    whole = [run for run in results.values() if run.status is Status.COMPLETED and not halved(run.reason)]
    metrics = _metrics(whole)
    width = max(map(len, metrics))
    rows = [[name.ljust(width), *over(each).cells] for name, each in metrics.items()]
    return [f"over {found.over}", *_aligned([["", *HEADS], *rows])]


def _best_run(info: SweepInfo, results: Mapping[int, RunInfo], found: Ranking[int]) -> str:
    """The run that the first setting is shown by."""
    number, metric = found.first, found.yardstick.metric
    if number is None:
        return f"  no run has come to a number of {metric}"
    job = next(job for job in info.jobs if job.number == number)
    words = " ".join(f"{key}={shown(value, brief=True)}" for key, value in job.differs.items() if repeats(key))
    run = results[number]
    return f"  its best run is {job.run} ({words}): {metric} {measured(run, metric):.6g} in epoch {_epoch(run)}"


def _verdict(found: Ranking[int]) -> list[str]:
    return [f"  {found.verdict}"] if found.verdict else []


def _epoch(run: RunInfo) -> int:
    return run.best.epoch if run.best else run.epochs - 1


def _state(results: Mapping[int, RunInfo]) -> str:
    """Which state of the runs is told of."""
    return "at their best" if _have_best(results) else "in the end"


def _have_best(results: Mapping[int, RunInfo]) -> bool:
    return any(run.best for run in results.values())


def _outcomes(info: SweepInfo, results: Mapping[int, RunInfo]) -> str:
    counts = {str(status): sum(job.status is status for job in info.jobs) for status in Status}
    return outcomes(counts, sum(halved(run.reason) for run in results.values())) or "none begun"


def _metrics(runs: Sequence[RunInfo]) -> dict[str, list[float]]:
    """The values over the runs of the monitored metric where it was best, and of each metric in the end."""
    found: dict[str, list[float]] = {}
    for run in runs:
        if run.best:
            found.setdefault(f"best {run.best.metric}", []).append(run.best.value)
        # What the optimizer does is not what the runs have come to.
        for name in sorted(run.final.keys() - {LR, GRAD_NORM, GRAD_NORM_CLIPPED}):
            found.setdefault(f"final {name}", []).append(run.final[name])
    return found


def _failures(info: SweepInfo, results: Mapping[int, RunInfo]) -> list[str]:
    bad = [job for job in info.jobs if job.status in (Status.FAILED, Status.DIVERGED)]
    reasons: dict[tuple[str, str], list[str]] = {}
    for job in bad:
        # By their reasons: a fault that a hundred jobs share is told once.
        reasons.setdefault((str(job.status), job.reason or ""), []).append(job.run)
    lines = []
    for (status, reason), runs in list(reasons.items())[: 2 * TOP]:
        more = f" and {len(runs) - 3} more" if len(runs) > 3 else ""
        lines.append(f"  {status}  {', '.join(runs[:3])}{more}: {reason}")
    if len(reasons) > 2 * TOP:
        lines.append(f"  and {len(reasons) - 2 * TOP} more reasons: see the summary")
    return lines


def _filled(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The rows without the columns that have nothing below their title."""
    kept = [place for place in range(len(rows[0])) if any(row[place] for row in rows[1:])]
    return [[row[place] for place in kept] for row in rows]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
