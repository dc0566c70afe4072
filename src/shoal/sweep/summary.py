"""What a sweep has shown: the best runs, mean and spread over seeds, failures; as text, as a table, as a figure."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from shoal.errors import shown
from shoal.names import TRAIN_LOSS, VAL_LOSS
from shoal.rundir import RunInfo, Status, SweepDir, SweepInfo, write_text

TOP = 5
SEED = "seed"


def summarize(sweep: SweepDir, info: SweepInfo, results: Mapping[int, RunInfo]) -> str:
    """Write summary.csv; the text for the terminal."""
    write_text(sweep.summary, table(info, results))
    lines = [*_best_runs(info, results), *_configurations(info, results), *_failures(info, results)]
    counts = {status: sum(job.status is status for job in info.jobs) for status in Status}
    said = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
    lines.append(f"{len(info.jobs)} runs: {said or 'none begun'}, in {info.seconds:.1f} s")
    lines.append(f"  {sweep.summary}")
    return "\n".join(lines)


def table(info: SweepInfo, results: Mapping[int, RunInfo]) -> str:
    """summary.csv: a row a job with what differs, its status, its best and final metrics."""
    names = sorted({name for run in results.values() for name in run.final})
    text = io.StringIO()
    columns = [
        "job",
        "run",
        *info.varies,
        "status",
        "best",
        "best_epoch",
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
        if run:
            best = {"best": run.best.value, "best_epoch": run.best.epoch} if run.best else {}
            row |= best | {"epochs": run.epochs, "steps": run.steps, "seconds": round(run.seconds, 3)} | run.final
        writer.writerow(row)
    return text.getvalue()


def score(run: RunInfo) -> float | None:
    """What runs are ranked by: the best value of the monitored metric, small where it is good."""
    if run.status is not Status.COMPLETED:
        return None
    if run.best:
        return run.best.value if run.best.mode == "min" else -run.best.value
    return run.final.get(VAL_LOSS, run.final.get(TRAIN_LOSS))


def _best_runs(info: SweepInfo, results: Mapping[int, RunInfo]) -> list[str]:
    scored = [(found, number) for number, run in results.items() if (found := score(run)) is not None]
    if not scored:
        return []
    ranked = [number for _, number in sorted(scored)[:TOP]]
    first = results[ranked[0]]
    metric = first.best.metric if first.best else VAL_LOSS
    rows = [["run", *info.varies, metric, "epoch"]]
    names = {job.number: job for job in info.jobs}
    for number in ranked:
        run = results[number]
        value = run.best.value if run.best else score(run)
        epoch = run.best.epoch if run.best else run.epochs - 1
        settings = [shown(names[number].differs.get(key, "")) for key in info.varies]
        rows.append([names[number].run, *settings, f"{value:.6g}", str(epoch)])
    return [f"best of {len(scored)} runs", *_aligned(rows)]


def _configurations(info: SweepInfo, results: Mapping[int, RunInfo]) -> list[str]:
    """Mean and spread over seeds, where each configuration has several."""
    keys = [key for key in info.varies if key.split(".")[-1] != SEED]
    groups: dict[tuple[str, ...], list[float]] = {}
    for job in info.jobs:
        found = score(results[job.number]) if job.number in results else None
        if found is not None:
            groups.setdefault(tuple(shown(job.differs.get(key, "")) for key in keys), []).append(abs(found))
    if not keys or all(len(values) < 2 for values in groups.values()):
        return []
    rows = [[*keys, "mean", "std", "min", "max", "runs"]]
    for settings, values in sorted(groups.items(), key=lambda item: statistics.fmean(item[1])):
        spread = statistics.stdev(values) if len(values) > 1 else math.nan
        numbers = [statistics.fmean(values), spread, min(values), max(values)]
        rows.append([*settings, *(f"{value:.4g}" for value in numbers), str(len(values))])
    return ["over seeds", *_aligned(rows[: 1 + 4 * TOP])]


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
