"""What a sweep has shown: the best runs, mean and spread over seeds and folds, failures; as text and as a table."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from shoal.errors import shown
from shoal.judging import judged
from shoal.names import GRAD_NORM, GRAD_NORM_CLIPPED, LR, VAL_LOSS, repeated_over, repeats
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
        values = groups.get(_configuration(info, job), [])
        if spread and values:
            row |= dict(zip(spread, (statistics.fmean(values), _std(values), len(values)), strict=True))
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


def score(run: RunInfo) -> float | None:
    """What runs are ranked by: the best value of the monitored metric, small where it is good."""
    if run.status is not Status.COMPLETED:
        return None
    found = judged(run.best, run.final)
    return found.cost if found else None


def _best_runs(info: SweepInfo, results: Mapping[int, RunInfo]) -> list[str]:
    scored = [(found, number) for number, run in results.items() if (found := score(run)) is not None]
    if not scored:
        return []
    ranked = [number for _, number in sorted(scored)[:TOP]]
    first = results[ranked[0]]
    chosen = judged(first.best, first.final)
    metric = chosen.metric if chosen else VAL_LOSS
    rows = [["run", *info.varies, metric, "epoch"]]
    names = {job.number: job for job in info.jobs}
    for number in ranked:
        run = results[number]
        value = run.best.value if run.best else score(run)
        epoch = run.best.epoch if run.best else run.epochs - 1
        settings = [shown(names[number].differs.get(key, ""), brief=True) for key in info.varies]
        rows.append([names[number].run, *settings, f"{value:.6g}", str(epoch)])
    return [f"best of {counted(len(scored), 'run')}", *_aligned(rows)]


def _over_repeats(info: SweepInfo, results: Mapping[int, RunInfo]) -> list[str]:
    """Mean and spread over seeds and folds: of the metrics of a single configuration, or of the best of each."""
    groups = _groups(info, results)
    if not _any_repeats(groups):
        return []
    over = repeated_over(info.varies)
    heads = ["mean", "std", "min", "max", "runs"]
    if len(groups) == 1:
        found = _metrics([run for run in results.values() if run.status is Status.COMPLETED])
        width = max(map(len, found))
        rows = [["", *heads], *([name.ljust(width), *_spread(values)] for name, values in found.items())]
        return [f"over {over}", *_aligned(rows)]
    keys = [key for key in info.varies if not repeats(key)]
    ranked = sorted(groups.items(), key=lambda item: _sign(results) * statistics.fmean(item[1]))
    brief = {_configuration(info, job): _configuration(info, job, brief=True) for job in info.jobs}
    rows = [[*brief[settings], *_spread(values)] for settings, values in ranked]
    return [f"over {over}", *_aligned([[*keys, *heads], *rows[: 4 * TOP]])]


def _groups(info: SweepInfo, results: Mapping[int, RunInfo]) -> dict[tuple[str, ...], list[float]]:
    """The best values of the runs of each configuration, whatever their seeds and folds."""
    groups: dict[tuple[str, ...], list[float]] = {}
    for job in info.jobs:
        if job.number in results and (found := score(results[job.number])) is not None:
            groups.setdefault(_configuration(info, job), []).append(_sign(results) * found)
    return groups


def _configuration(info: SweepInfo, job: JobInfo, *, brief: bool = False) -> tuple[str, ...]:
    return tuple(shown(job.differs.get(key, ""), brief=brief) for key in info.varies if not repeats(key))


def _any_repeats(groups: Mapping[tuple[str, ...], Sequence[float]]) -> bool:
    return any(len(values) > 1 for values in groups.values())


def _sign(results: Mapping[int, RunInfo]) -> int:
    """What makes a score the value of the metric again: -1 where a large one is good."""
    return -1 if any(run.best and run.best.mode == "max" for run in results.values()) else 1


def _metrics(runs: Sequence[RunInfo]) -> dict[str, list[float]]:
    """The values over the runs of the monitored metric where it was best, and of each metric in the end."""
    found: dict[str, list[float]] = {}
    for run in runs:
        if run.best:
            found.setdefault(f"best {run.best.metric}", []).append(run.best.value)
        for name in sorted(run.final.keys() - {LR, GRAD_NORM, GRAD_NORM_CLIPPED}):
            found.setdefault(f"final {name}", []).append(run.final[name])
    return found


def _spread(values: Sequence[float]) -> list[str]:
    numbers = [statistics.fmean(values), _std(values), min(values), max(values)]
    return [*(f"{value:.4g}" for value in numbers), str(len(values))]


def _std(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else math.nan


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
