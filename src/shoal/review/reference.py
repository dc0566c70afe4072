"""Which run is meant: an id or its beginning or end, `last`, `best:val/loss`, a path; `SWEEP/JOB` inside a sweep."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from shoal.errors import UsageError, nearest
from shoal.review.catalog import find, is_aside
from shoal.review.entries import Entry, RunEntry, SweepEntry, runs, untimed
from shoal.review.values import best_run, yardstick
from shoal.review.wording import printable

_DEPTH = 3
_SHOWN = 4


def resolve(reference: str, root: Path, entries: Sequence[Entry] | None = None) -> Entry:
    """The run or sweep that is meant.

    Raises:
        UsageError: where none is, or more than one; it names the nearest, or the candidates.
    """
    at = Path(reference).expanduser()
    # A path first where it can only be one, or is there.
    if os.sep in reference or reference in (".", "..") or at.is_dir():
        found = at_path(at) if at.is_dir() else None
        if found:
            return found
    known = find([root]) if entries is None and root.is_dir() else entries or []
    if not known:
        raise UsageError(f"no run {printable(reference)}: there are no runs in {root}", hint=_HINT)
    return _among(reference, known, root)


def resolve_run(reference: str, root: Path, entries: Sequence[Entry] | None = None) -> RunEntry:
    """The run that is meant, where a sweep is not enough.

    Raises:
        UsageError: where none is, or more than one, or a sweep.
    """
    entry = resolve(reference, root, entries)
    if isinstance(entry, SweepEntry):
        hint = f"name one of its runs: {reference}/0, {reference}/best; or see shoal report {reference}"
        raise UsageError(f"{printable(reference)} is a sweep of {len(entry.runs)} runs", hint=hint)
    return entry


def looked_into(path: Path, root: Path) -> Path:
    """The folder that is meant: the path, or where there is none the directory of the run or sweep of that name.

    Raises:
        UsageError: where it is neither.
    """
    return path if path.exists() or os.sep in str(path) else resolve(str(path), root).path


def at_path(path: Path) -> Entry | None:
    """The run or sweep in this directory; None where it is neither.

    Raises:
        UsageError: where it is a folder of several.
    """
    # Of `.` and `..` the entry would have no name.
    path = path.resolve() if path.name in ("", "..") else path
    entries = find([path])
    own = [entry for entry in entries if entry.path == path]
    if own:
        return own[0]
    if entries and (path / "multirun.yaml").exists():
        return SweepEntry(path, tuple(runs(reversed(entries))), damage="a sweep of another Hydra program")
    if entries:
        hint = f"name one of them, or list them: shoal runs {path}"
        raise UsageError(f"{path} holds {len(entries)} runs and sweeps", hint=hint)
    return None


def completions(root: Path, beginning: str) -> list[str]:
    """Ids, or their last parts, that begin as typed. Reads names of folders only: a person is waiting."""
    words = [word for word in ("last", "best:") if word.startswith(beginning)]
    found = sorted((name for name in _names(root, _DEPTH) if _fits(name, beginning)), reverse=True)
    return [*words, *(name if name.startswith(beginning) else untimed(name) for name in found)]


_HINT = "shoal runs lists them; --root names another folder of runs"


def _among(reference: str, entries: Sequence[Entry], root: Path) -> Entry:
    if reference == "last":
        return entries[0]
    if reference == "best" or reference.startswith("best:"):
        return _best(reference, entries)
    found = _matching(reference, entries)
    if len(found) == 1:
        return found[0]
    if len(found) > 1:
        shown = ", ".join(printable(entry.id) for entry in found[:_SHOWN])
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise UsageError(f"{printable(reference)} may mean {len(found)} runs", hint=f"{shown}{more}")
    head, _, tail = reference.partition("/")
    meant = entries[:1] if head == "last" else _matching(head, entries) if tail else []
    sweeps = [entry for entry in meant if isinstance(entry, SweepEntry)]
    if len(sweeps) == 1:
        return _inside(tail, sweeps[0])
    guess = nearest(reference, [entry.id for entry in _everything(entries)])
    hint = f"did you mean {guess}? {_HINT}" if guess else _HINT
    raise UsageError(f"no run {printable(reference)} in {root}", hint=hint)


def _inside(reference: str, sweep: SweepEntry) -> Entry:
    """A run of a sweep: by the number of its job, or as anywhere else."""
    if reference.isdecimal():
        jobs = sweep.info.jobs if sweep.info else []
        # By sweep.json; of another program's sweep the folders are called by the numbers.
        names = {job.run for job in jobs if job.number == int(reference)} or {reference}
        numbered = [
            run for run in sweep.runs if run.path.name in names or (run.summary and run.summary.job == int(reference))
        ]
        if numbered:
            return numbered[0]
        raise UsageError(f"{printable(sweep.id)} has no run of job {reference}", hint=f"it has {len(sweep.runs)} runs")
    # The newest first, as `last` takes it.
    return _among(reference, list(reversed(sweep.runs)), sweep.path)


def _best(reference: str, entries: Sequence[Entry]) -> RunEntry:
    every = runs(entries)
    by = yardstick(every)
    metric = reference.partition(":")[2] or (by.metric if by else None)
    if by and by.note and reference == "best":
        print(f"best: {printable(by.note)}", file=sys.stderr)
    found = best_run(every, metric) if metric else None
    if found:
        return found
    metrics = sorted({name for run in every if run.summary for name in run.summary.final})
    guess = nearest(metric, metrics) if metric else None
    meant = f"did you mean {guess}? " if guess else ""
    raise UsageError(
        f"no run has a finite {metric or 'metric'}", hint=f"{meant}metrics: {', '.join(metrics) or 'none'}"
    )


def _matching(reference: str, entries: Iterable[Entry]) -> list[Entry]:
    """The entries of exactly this id, else those whose id fits; a sweep that fits stands for its runs."""
    every = list(_everything(entries))
    # A whole id before beginnings: `k3f9` may begin another one.
    exact = [entry for entry in every if reference in (entry.id, entry.path.name, untimed(entry.id))]
    fitting = exact or [entry for entry in every if _fits(entry.id, reference) or _fits(entry.path.name, reference)]
    # Its runs' ids begin as the sweep's does.
    inside = {run.path for entry in fitting if isinstance(entry, SweepEntry) for run in entry.runs}
    return [entry for entry in fitting if entry.path not in inside]


def _everything(entries: Iterable[Entry]) -> Iterator[Entry]:
    for entry in entries:
        yield entry
        if isinstance(entry, SweepEntry):
            yield from entry.runs


def _fits(name: str, typed: str) -> bool:
    return name.startswith(typed) or untimed(name).startswith(typed)


def _names(folder: Path, depth: int) -> Iterator[str]:
    try:
        items = list(os.scandir(folder))
    except OSError:
        return
    # The folder that is named is looked into in any case.
    if depth < _DEPTH and is_aside(item.name for item in items):
        return
    for name in [item.name for item in items if item.is_dir(follow_symlinks=False)]:
        if untimed(name) != name:
            yield name
        elif depth and not name.startswith("."):
            yield from _names(folder / name, depth - 1)
