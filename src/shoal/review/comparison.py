"""`shoal compare` and `shoal diff`: in what runs differ, and in what their surroundings did."""

from __future__ import annotations

import difflib
import math
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console

from shoal.errors import DamagedError, shown
from shoal.names import GRAD_NORM, GRAD_NORM_CLIPPED, LR, halved
from shoal.review.curves import MetricCurve, draw, histories
from shoal.review.entries import RunEntry
from shoal.review.fit_comparison import fits, measures, verdict
from shoal.review.listing import short_ids
from shoal.review.settings import read_settings
from shoal.review.terminal_table import TableColumn, write_table
from shoal.review.values import metric_of, rises, yardstick
from shoal.review.wording import number, printable

Rows = list[tuple[str, list[Any]]]
"""A name, and what each run has under it."""


def differing(mappings: Sequence[Mapping[str, Any]]) -> Rows:
    """The names under which the mappings do not all hold the same."""
    # In the order in which the first run has them.
    names = dict.fromkeys(name for mapping in mappings for name in mapping)
    rows = [(name, [mapping.get(name) for mapping in mappings]) for name in names]
    return [(name, values) for name, values in rows if any(value != values[0] for value in values)]


def compare(screen: Console, entries: Sequence[RunEntry], *, metric: str | None = None) -> None:
    """Print the settings in which the runs differ, their metrics side by side, and their curves over each other."""
    names = short_ids(entries)
    known, problems = _settings(entries, names)
    otherwise = "the runs have the same settings" if len(known) > 1 else "there are no two to compare"
    _titled(screen, "settings that differ", differing(list(known.values())), list(known), otherwise)
    for problem in problems:
        screen.print(problem, style="red")
    _titled(screen, "\nmetrics", _metrics(entries), _with_difference(names), "no run has a metric")
    if fits(entries):
        _titled(screen, "\nfits", measures(entries), names, "")
        for line in verdict(names, entries):
            screen.print(printable(line))
    by = yardstick(entries)
    if by and by.note:
        screen.print(f"\n{printable(by.note)}")
    metric = metric or (by.metric if by else None)
    if metric and screen.is_terminal:
        _overlaid(screen, entries, names, metric)


def diff(screen: Console, a: RunEntry, b: RunEntry, *, patch: bool = False) -> None:
    """Print in which code and environment two runs were made."""
    names = short_ids([a, b])
    surroundings = [_surroundings(run) for run in (a, b)]
    rows = differing(surroundings)
    _titled(screen, "environment", rows, names, "the environments are the same")
    screen.print("\ncode", style="bold")
    lines = [*_code(a, b, patch=patch)]
    for line in lines or ["the runs were made from the same code"]:
        screen.print(printable(line), style=_diff_style(line))


def _settings(entries: Sequence[RunEntry], names: Sequence[str]) -> tuple[dict[str, Mapping[str, Any]], list[str]]:
    """The settings of each run by its name, and what is wrong with those that cannot be read."""
    known: dict[str, Mapping[str, Any]] = {}
    problems = []
    for run, name in zip(entries, names, strict=True):
        try:
            known[name] = read_settings(run.path)
        except DamagedError as error:
            problems.append(f"{name}: {printable(error.problem)}")
    return known, problems


def _metrics(entries: Sequence[RunEntry]) -> Rows:
    """Each metric in the last and in the best state; of two runs, the difference too."""
    infos = [run.info for run in entries]
    rows: Rows = []
    for name in dict.fromkeys(name for info in infos if info for name in info.final):
        rows.append((f"{name}, last", [info.final.get(name) if info else None for info in infos]))
    monitored = {info.best.metric for info in infos if info and info.best}
    for name in dict.fromkeys(name for info in infos if info for name in info.at_best):
        # The monitored one has rows of its own below.
        if name not in (*monitored, LR, GRAD_NORM, GRAD_NORM_CLIPPED):
            rows.append((f"{name}, at best", [metric_of(run, name) for run in entries]))
    for name in dict.fromkeys(info.best.metric for info in infos if info and info.best):
        bests = [info.best if info and info.best and info.best.metric == name else None for info in infos]
        direction = "largest" if rises(name, entries) else "smallest"
        rows.append((f"{name}, {direction}", [best.value if best else None for best in bests]))
        rows.append((f"{name}, {direction} in epoch", [best.epoch if best else None for best in bests]))
    rows.append(("epochs", [info.epochs if info else None for info in infos]))
    rows.append(("seconds", [info.seconds if info else None for info in infos]))
    rows.append(("parameters", [info.parameters if info else None for info in infos]))
    ends = [_ended(run) for run in entries]
    if len(set(ends)) > 1:
        # First: metrics of a run that was stopped are of another length of training.
        rows.insert(0, ("ended", ends))
    if len(entries) == 2:
        return [(name, [*values, _difference(*values)]) for name, values in rows]
    return rows


def _ended(run: RunEntry) -> str:
    """How a run has ended: the values of one that was stopped are of fewer epochs."""
    return "stopped by halving" if halved(run.reason) else str(run.status)


def _with_difference(names: Sequence[str]) -> list[str]:
    return [*names, "difference"] if len(names) == 2 else list(names)


def _difference(a: Any, b: Any) -> str:
    if not isinstance(a, int | float) or not isinstance(b, int | float) or not math.isfinite(b - a):
        return ""
    share = f" ({(b - a) / abs(a):+.1%})" if a else ""
    return f"{b - a:+.4g}{share}"


def _overlaid(screen: Console, entries: Sequence[RunEntry], names: Sequence[str], metric: str) -> None:
    curves = []
    screen.print()
    for run, name in zip(entries, names, strict=True):
        try:
            curve = histories(run).get(metric)
        except DamagedError as error:
            screen.print(f"{name}: {printable(error.problem)}", style="red")
            continue
        if curve and len(curve.x) > 1:
            curves.append(MetricCurve(name, curve.x, curve.y, curve.axis))
        else:
            screen.print(f"{name}: fewer than two finite values of {printable(metric)}")
    if curves:
        draw(screen, curves, title=metric)


def _titled(screen: Console, title: str, rows: Rows, names: Sequence[str], otherwise: str) -> None:
    screen.print(title, style="bold")
    if not rows:
        screen.print(otherwise)
        return
    columns = [TableColumn(title="", cells=[printable(name) for name, _ in rows], shrinks=True)]
    for position, name in enumerate(names):
        cells = [_cell(values[position]) for _, values in rows]
        # A column of texts reads from the left.
        right = all(not isinstance(values[position], str | list) for _, values in rows)
        columns.append(TableColumn(title=name, cells=cells, right=right, shrinks=not right, rank=position))
    if screen.is_terminal:
        write_table(screen, columns)
    else:
        # Into a pipe: by tabs, and whole.
        for row in zip(*(column.cells for column in columns), strict=True):
            screen.file.write("\t".join(row) + "\n")


def _cell(value: Any) -> str:
    return number(value) if isinstance(value, float) else "" if value is None else printable(shown(value))


def _surroundings(run: RunEntry) -> dict[str, Any]:
    if run.info is None:
        return {}
    info = run.info
    git = info.git or {}
    return {
        **{f"version of {name}": version for name, version in info.versions.items()},
        **{name: value for name, value in info.hardware.items() if not isinstance(value, dict)},
        **{f"instructions of {name}": value for name, value in info.instructions.items() if name != "processor"},
        "host": info.host,
        "commit": str(git.get("commit") or "")[:12] or None,
        "uncommitted changes": bool(git.get("dirty")),
    }


def _code(a: RunEntry, b: RunEntry, *, patch: bool) -> Iterable[str]:
    """The commits between the runs, as far as this repository knows them, and how their uncommitted changes differ."""
    commits = [str((run.info.git or {}).get("commit") or "") if run.info else "" for run in (a, b)]
    if commits[0] != commits[1]:
        yield from _between(*commits, patch=patch)
    before, after = _lines(a), _lines(b)
    if before != after:
        yield "uncommitted changes (patch.diff) differ:"
        yield from difflib.unified_diff(before, after, a.id, b.id, lineterm="", n=1)


def _between(a: str, b: str, *, patch: bool) -> Iterable[str]:
    # A commit is data of run.json: a word that begins with a dash would be an option.
    if not all(commit.isalnum() for commit in (a, b)):
        yield "a run was not made in a git repository, so its code is not known"
        return
    # No color and no program of the user's: the lines are colored here, and may go into a pipe.
    words = ["git", "diff", "--no-color", "--no-ext-diff", *([] if patch else ["--stat"]), a, b, "--"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, errors="replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        yield f"git diff {a[:12]} {b[:12]} failed: {error}"
        return
    if done.returncode:
        yield f"this repository does not have both commits: {a[:12]} and {b[:12]}"
    else:
        yield f"git diff {a[:12]} {b[:12]}"
        yield from done.stdout.splitlines()


def _lines(run: RunEntry) -> list[str]:
    try:
        return run.dir.patch.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _diff_style(line: str) -> str:
    if line.startswith(("+++", "---", "@@")):
        return "bold"
    return "green" if line.startswith("+") else "red" if line.startswith("-") else ""
