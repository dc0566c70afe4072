"""What a sweep has shown: the best runs, mean and spread over seeds and folds, failures; as text and as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from shoal.errors import shown
from shoal.judging import main_metric, measured, place
from shoal.names import GRAD_NORM, GRAD_NORM_CLIPPED, LR, VAL_LOSS, repeated_over, repeats
from shoal.review.spread import HEADS, over
from shoal.review.wording import counted
from shoal.rundir import JobInfo, RunInfo, Status, SweepDir, SweepInfo, write_text

TOP = 5


def summarize(sweep: SweepDir, info: SweepInfo, results: Mapping[int, RunInfo]) -> str:
    """Write summary.csv; the text for the terminal."""
    write_text(sweep.summary, table(info, results))
    lines = [*_best_runs(info, results), *_over_repeats(info, results), *_failures(info, results)]
    counts = {status: sum(job.status is status for job in info.jobs) for status in Status}
    said = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
    lines.append(f"{counted(len(info.jobs), 'run')}: {said or 'none begun'}, in {info.seconds:.1f} s")
    lines.append(f"  {sweep.summary}")
    return "\n".join(lines)


def table(info: SweepInfo, results: Mapping[int, RunInfo]) -> str:
    """summary.csv: a row a job with what differs, its status, its best and final metrics.

    Where several runs are the same but for seed and fold, mean and spread of their best values stand in each of them.
    """
    names = sorted({name for run in results.values() for name in run.final})
    groups = _groups(info, results)
    spread = ["best_mean", "best_std", "best_runs"] if _any_repeats(groups) else []
    text = io.StringIO()
    columns = [
        "job",
        "run",
        *info.varies,
        "status",
        "best",
        "best_epoch",
        *spread,
        "epochs",
        "steps",
        "seconds",
        *names,
        "reason",
    ]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for job in info.jobs:
        row: dict[str, Any] = {
            "job": job.number,
            "run": job.run,
            "status": job.status or "",
            "reason": job.reason or "",
        }
        row |= {key: shown(value) for key, value in job.differs.items() if key in info.varies}
        run = results.get(job.number)
        repeated = groups.get(_configuration(info, job), [])
        if spread and repeated:
            found = over(repeated)
            row |= dict(zip(spread, (found.mean, found.std, found.runs), strict=True))
        if run:
            best = {"best": run.best.value, "best_epoch": run.best.epoch} if run.best else {}
            row |= best | {"epochs": run.epochs, "steps": run.steps, "seconds": round(run.seconds, 3)} | run.final
        writer.writerow(row)
    return text.getvalue()


def spans(numbers: Sequence[int]) -> str:
    """`0-63, 70`."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][-1] == number - 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ", ".join("-".join(map(str, part)) for part in parts)


def yardstick(results: Mapping[int, RunInfo]) -> tuple[str, str]:
    """The metric to judge the runs by, and whether `min` or `max` is its best."""
    return main_metric((run.best, run.final) for run in results.values()) or (VAL_LOSS, "min")


def values(results: Mapping[int, RunInfo]) -> dict[int, float]:
    """What each completed run has come to by one metric, the best first and those that are nan last."""
    metric, way = yardstick(results)
    done = {number: run for number, run in results.items() if run.status is Status.COMPLETED}
    every = [(number, measured(run.best, run.final, metric)) for number, run in done.items()]
    known = [(number, value) for number, value in every if value is not None]
    return dict(sorted(known, key=lambda pair: (place(pair[1], way), pair[0])))


def _best_runs(info: SweepInfo, results: Mapping[int, RunInfo]) -> list[str]:
    found = values(results)
    if not found:
        return []
    metric, _ = yardstick(results)
    rows = [["run", *info.varies, metric, "epoch"]]
    names = {job.number: job for job in info.jobs}
    for number, value in list(found.items())[:TOP]:
        run = results[number]
        epoch = run.best.epoch if run.best else run.epochs - 1
        settings = [shown(names[number].differs.get(key, ""), brief=True) for key in info.varies]
        rows.append([names[number].run, *settings, f"{value:.6g}", str(epoch)])
    return [f"best of {counted(len(found), 'run')}", *_aligned(rows)]


def _over_repeats(info: SweepInfo, results: Mapping[int, RunInfo]) -> list[str]:
    """Mean and spread over seeds and folds: of the metrics of a single configuration, or of the best of each."""
    groups = _groups(info, results)
    if not _any_repeats(groups):
        return []
    title = f"over {repeated_over(info.varies)}"
    if len(groups) == 1:
        found = _metrics([run for run in results.values() if run.status is Status.COMPLETED])
        width = max(map(len, found))
        rows = [[name.ljust(width), *over(each).cells] for name, each in found.items()]
        return [title, *_aligned([["", *HEADS], *rows])]
    keys = [key for key in info.varies if not repeats(key)]
    _, way = yardstick(results)
    spreads = {settings: over(found) for settings, found in groups.items()}
    ranked = sorted(spreads, key=lambda settings: place(spreads[settings].mean, way))
    brief = {_configuration(info, job): _configuration(info, job, brief=True) for job in info.jobs}
    rows = [[*brief[settings], *spreads[settings].cells] for settings in ranked]
    return [title, *_aligned([[*keys, *HEADS], *rows[: 4 * TOP]])]


def _groups(info: SweepInfo, results: Mapping[int, RunInfo]) -> dict[tuple[str, ...], list[float]]:
    """The best values of the runs of each configuration, whatever their seeds and folds."""
    known = values(results)
    groups: dict[tuple[str, ...], list[float]] = {}
    for job in info.jobs:
        if job.number in known:
            groups.setdefault(_configuration(info, job), []).append(known[job.number])
    return groups


def _configuration(info: SweepInfo, job: JobInfo, *, brief: bool = False) -> tuple[str, ...]:
    return tuple(shown(job.differs.get(key, ""), brief=brief) for key in info.varies if not repeats(key))


def _any_repeats(groups: Mapping[tuple[str, ...], Sequence[float]]) -> bool:
    return any(len(found) > 1 for found in groups.values())


def _metrics(runs: Sequence[RunInfo]) -> dict[str, list[float]]:
    """The values over the runs of the monitored metric where it was best, and of each metric in the end."""
    found: dict[str, list[float]] = {}
    for run in runs:
        if run.best:
            found.setdefault(f"best {run.best.metric}", []).append(run.best.value)
        for name in sorted(run.final.keys() - {LR, GRAD_NORM, GRAD_NORM_CLIPPED}):
            found.setdefault(f"final {name}", []).append(run.final[name])
    return found


def _failures(info: SweepInfo, results: Mapping[int, RunInfo]) -> list[str]:
    bad = [job for job in info.jobs if job.status in (Status.FAILED, Status.DIVERGED)]
    reasons: dict[tuple[str, str], list[str]] = {}
    for job in bad:
        reasons.setdefault((str(job.status), job.reason or ""), []).append(job.run)
    lines = []
    for (status, reason), runs in list(reasons.items())[: 2 * TOP]:
        more = f" and {len(runs) - 3} more" if len(runs) > 3 else ""
        lines.append(f"  {status}  {', '.join(runs[:3])}{more}: {reason}")
    if len(reasons) > 2 * TOP:
        lines.append(f"  and {len(reasons) - 2 * TOP} more reasons: see the summary")
    return lines


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
