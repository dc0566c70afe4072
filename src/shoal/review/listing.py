"""`shoal runs`: which runs, in which order, in which form."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from shoal.errors import UsageError, suggestion
from shoal.names import GRAD_NORM, GRAD_NORM_CLIPPED, LR, halved
from shoal.review.entries import PENDING, REMOVED, STATUSES, Entry, RunEntry, SweepEntry, runs, untimed
from shoal.review.plain import known
from shoal.review.query import ordered, where
from shoal.review.ranking import distinguishing
from shoal.review.terminal_table import TableColumn, status_style, write_table
from shoal.review.values import AT_BEST, Value, Values, unknown_status, yardstick
from shoal.review.wording import ago, counted, duration, number, outcomes, printable, settings
from shoal.rundir import ListedRun, Status
from shoal.rundir.json_text import json_text

WIDE = 120
"""Terminals narrower than this show the last letters of an id only."""

_FORMATS = {"age": ago, "time": duration}
_RIGHT = {"age", "time", "best"}
_SHRINKS = {"id": False, "task": True, "tags": True, "note": True, "what": True, "path": True, "reason": True}


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What to list of the runs that were found."""

    where: str | None = None
    status: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    sort: str | None = None
    top: int | None = None
    expand: bool = False


def selected(entries: Sequence[Entry], selection: Selection) -> list[Entry]:
    """The entries to list. A question about runs (a condition, a status, an order) opens the sweeps.

    Raises:
        UsageError: where a condition, a status or a name to sort by makes no sense.
    """
    for status in selection.status:
        if status not in STATUSES:
            raise unknown_status(status, STATUSES)
    if selection.tags:
        entries = _tagged(entries, selection.tags)
    # A list alone shows a sweep as one row.
    if not (selection.expand or selection.where or selection.status or selection.sort):
        return list(entries[: selection.top])
    found = runs(entries)
    if selection.status:
        found = [run for run in found if run.status in selection.status]
    if selection.where:
        found = where(found, selection.where)
    if selection.sort and found:
        found = ordered(found, selection.sort)
    return list(found[: selection.top])


def _tagged(entries: Sequence[Entry], tags: Sequence[str]) -> list[Entry]:
    """The runs and sweeps that have all of these tags.

    Raises:
        UsageError: where no run has one of them.
    """
    known = {tag for entry in entries if entry.summary for tag in entry.summary.tags}
    for tag in tags:
        if tag not in known and entries:
            hint = suggestion(tag, known) if known else "a run gets tags by 'tags=[a,b]'"
            raise UsageError(f"no run has the tag {tag}", hint=hint)
    return [entry for entry in entries if entry.summary and set(tags) <= {*entry.summary.tags}]


def default_columns(entries: Sequence[Entry]) -> list[str]:
    """The columns where none are asked for: the further metrics come last."""
    found = runs(entries)
    by = yardstick(found)
    main = by.metric if by else None
    counts: Counter[str] = Counter()
    # By sets of names: ten thousand runs have a handful of them.
    for names, n in Counter(tuple(run.summary.final) for run in found if run.summary).items():
        counts.update(dict.fromkeys(names, n))
    quiet = {main, LR, GRAD_NORM, GRAD_NORM_CLIPPED}
    others = [name for name, _ in counts.most_common() if name not in quiet]
    best = f"{AT_BEST}{main}" if by and by.losses else "best"
    tags = ["tags"] if any(entry.summary and entry.summary.tags for entry in entries) else []
    return ["id", "task", "status", "age", *tags, "what", best, *([main] if main else []), "time", *others[:4]]


def asked_columns(names: str | None, entries: Sequence[Entry]) -> list[str]:
    """`id,optimizer.lr` as it stands; `+optimizer.lr` beside the usual ones."""
    if not names:
        return default_columns(entries)
    asked = [name.strip() for name in names.split(",") if name.strip()]
    added = [name.removeprefix("+") for name in asked if name.startswith("+")]
    return [*default_columns(entries), *added] if added else asked


def raw_columns(entries: Sequence[Entry], names: Sequence[str]) -> list[list[Any]]:
    """The values of each column, as a program wants them.

    Raises:
        UsageError: where no run has one of the names.
    """
    values = Values(entries)
    if not entries:
        return [[] for _ in names]
    return [whats(entries) if name == "what" else values.column(name) for name in names]


def whats(entries: Sequence[Entry], *, brief: bool = False) -> list[str]:
    """For a run, why it did not complete and what sets it apart; for a sweep, how many of its jobs ended how.

    What all runs of a task have set alike comes last, where a narrow terminal cuts it off.
    """
    shared: dict[str, set[str]] = {}
    for entry in entries:
        if isinstance(entry, RunEntry) and entry.summary and not entry.summary.differs:
            words = set(entry.summary.overrides)
            # What all runs of a task have set is common to them, and says the least.
            shared[entry.task] = shared.get(entry.task, words) & words
    return [_what(entry, shared.get(entry.task, set()), brief=brief) for entry in entries]


def _what(entry: Entry, shared: set[str], *, brief: bool) -> str:
    if isinstance(entry, SweepEntry):
        return _what_sweep(entry, brief=brief)
    reason = printable(entry.reason or "")
    words = distinction(entry.summary, shared, brief=brief) if entry.summary else ""
    parts = (words, reason) if halved(entry.reason) else (reason, words)  # what halving stopped is no worse for it
    return "; ".join(filter(None, parts))


def distinction(info: ListedRun, shared: Collection[str] = (), *, brief: bool = False) -> str:
    """What sets a run apart: in a sweep what differs from its neighbors, alone what its command line set.

    The words that are `shared` come last.
    """
    found = distinguishing(info)
    common = {word.lstrip("+") for word in shared}
    # Sorted by a flag: Python keeps the order within.
    names = list(found) if info.differs else sorted(found, key=lambda name: f"{name}={found[name]}" in common)
    return settings({name: found[name] for name in names}, brief=brief)


def _what_sweep(sweep: SweepEntry, *, brief: bool) -> str:
    counts = sweep.counts()
    n = sum(counts.values())
    parts = [printable(sweep.reason)] if sweep.reason else []
    if counts[Status.COMPLETED] == n and not sweep.n_halved:
        parts.append(counted(n, "run"))
    else:
        each = {status: counts[status] for status in (*STATUSES, PENDING, REMOVED)}
        parts.append(f"{counted(n, 'run')}: {outcomes(each, sweep.n_halved)}")
    varies = [str(name).rsplit(".", 1)[-1] if brief else str(name) for name in sweep.info.varies] if sweep.info else []
    return "; ".join(parts) + (f" over {printable(', '.join(varies))}" if varies else "")


def write_json_lines(entries: Sequence[Entry], names: Sequence[str] | None) -> str:
    """A JSON array with an object a line: all that is known of a run, or the named columns."""
    if names is None:
        rows = [known(entry) for entry in entries]
    else:
        columns = raw_columns(entries, names)
        rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    return "[\n" + ",\n".join(json_text(row, default=str) for row in rows) + "\n]\n"


def write_csv(entries: Sequence[Entry], names: Sequence[str]) -> str:
    """The columns as comma-separated values under their names."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(zip(*raw_columns(entries, names), strict=True))
    return text.getvalue()


def csv_columns(entries: Sequence[Entry]) -> list[str]:
    """The columns of a CSV where none are asked for: each setting that differs and each metric is one."""
    infos = [run.summary for run in runs(entries) if run.summary]
    differing = dict.fromkeys(str(name) for info in infos for name in info.differs)
    metrics = dict.fromkeys(name for info in infos for name in info.final)
    fields = ["id", "task", "status", "started", "time", "epochs", "best.metric", "best", "reason", "path"]
    # A setting may be called as a metric or a field is: once is enough.
    return list(dict.fromkeys([*fields[:5], *differing, *fields[5:8], *metrics, *fields[8:]]))


def write_lines(entries: Sequence[Entry], names: Sequence[str]) -> str:
    """For a pipe: a line a run, fields separated by tabs, numbers in full."""
    columns = [_fields(column) for column in raw_columns(entries, names)]
    return "".join(["\t".join(row) + "\n" for row in zip(*columns, strict=True)])


def _fields(column: Sequence[Value]) -> list[str]:
    return [printable(cell) if isinstance(cell, str) else "" if cell is None else repr(cell) for cell in column]


def write_listing(screen: Console, entries: Sequence[Entry], names: Sequence[str]) -> None:
    """For a person: a table as wide as the terminal, and what is to be known of how the runs compare."""
    write_table(screen, listing(entries, names, width=screen.width))
    by = yardstick(entries)
    if by and by.note and f"{AT_BEST}{by.metric}" in names:
        screen.print(printable(by.note))


def listing(entries: Sequence[Entry], names: Sequence[str], *, width: int) -> list[TableColumn]:
    """The columns of the table, most needed first."""
    by = yardstick(entries)
    main = by.metric if by else None
    raw = raw_columns(entries, names)
    metrics = Values(entries).metrics
    ranks = {name: rank for rank, name in enumerate(["id", "best", "what", "age", "task", main, "time"])}
    ranks[f"{AT_BEST}{main}"] = ranks["best"]
    # Never left out, like the id: without it a row says nothing.
    ranks["status"] = 0
    columns = []
    for position, (name, values) in enumerate(zip(names, raw, strict=True)):
        cells = [_FORMATS.get(name, number)(value) for value in values]
        if name == "id" and width < WIDE:
            cells = short_ids(entries)
        if name == "what" and width < WIDE:
            cells = whats(entries, brief=True)
        if name == "best":
            cells = [_best(entry, cell, main) for entry, cell in zip(entries, cells, strict=True)]
        columns.append(
            TableColumn(
                title=_title(name, main, metrics),
                cells=cells,
                right=name in _RIGHT or all(value is None or isinstance(value, int | float) for value in values),
                shrinks=_SHRINKS.get(name, False),
                rank=ranks.get(name, len(ranks) + position),
                style=status_style if name == "status" else None,
            )
        )
    return columns


def short_ids(entries: Sequence[Entry]) -> list[str]:
    """Each id without its time, `k3f9x2`, where no other entry is then called the same."""
    short = [untimed(entry.id) for entry in entries]
    counts = Counter(short)
    return [printable(name if counts[name] == 1 else entry.id) for name, entry in zip(short, entries, strict=True)]


def _title(name: str, main: str | None, metrics: Collection[str]) -> str:
    """The title of a column; that of a metric says which state of a run it was measured in."""
    if name == "best" and main:
        return f"BEST {printable(main)}"
    if name.startswith(AT_BEST):
        return f"BEST STATE {printable(name.removeprefix(AT_BEST))}"
    if name in metrics:
        return f"last {printable(name)}"
    return name.upper() if name in ("id", "task", "status", "age", "tags", "what", "time") else printable(name)


def _best(entry: Entry, cell: str, main: str | None) -> str:
    """The best value, with the name of its metric where that is not the one in the title."""
    info = entry.summary if isinstance(entry, RunEntry) else None
    return f"{printable(info.best.metric)}={cell}" if info and info.best and info.best.metric != main else cell
