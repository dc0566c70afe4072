"""The parts of a page on the terminal: a head, facts, tables, sentences."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console

from shoal.review.entries import RunEntry, SweepEntry
from shoal.review.terminal_table import status_style
from shoal.review.values import age
from shoal.review.wording import ago, number, printable

_INDENT = 13
"""Where the second column begins at least."""


def head(screen: Console, entry: RunEntry | SweepEntry) -> None:
    """Print what a run or a sweep is called, how it stands, and where and when it came to be."""
    screen.print(printable(entry.id), style="bold", end="  ")
    screen.print(printable(entry.task), end="  ")
    screen.print(entry.status, style=status_style(entry.status))
    if entry.reason:
        facts(screen, [("reason", printable(entry.reason))])
    facts(screen, [("path", printable(str(entry.path)))])
    if entry.summary:
        tags = printable(", ".join(entry.summary.tags))
        facts(screen, [("tags", tags), ("note", printable(entry.summary.note or ""))])
    if entry.info and entry.info.started:
        facts(screen, [("started", f"{_time(entry.info.started)}, {ago(age(entry))} ago")])


def facts(screen: Console, found: Iterable[tuple[str, str]]) -> None:
    """Print names and texts in two columns, the texts wrapped."""
    known = [(name, text) for name, text in found if text]
    indent = max([_INDENT, *(len(name) + 3 for name, _ in known)])
    for name, text in known:
        screen.print(f"  {name:<{indent - 3}} ", style="dim", end="")
        screen.print(_wrapped(screen, text, indent))


def table(screen: Console, title: str, names: Sequence[Any], columns: Mapping[str, Sequence[str]]) -> None:
    """Print numbers beside their names, indented as facts are."""
    first = [f"  {title}", *(f"  {printable(str(name))}" for name in names)]
    rest = [[printable(str(column)), *cells] for column, cells in columns.items()]
    # By cells of the terminal: a letter may be two wide.
    widths = [max(map(cell_len, cells)) for cells in (first, *rest)]
    for row in zip(first, *rest, strict=True):
        cells = [
            set_cell_size(row[0], widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        screen.print("  ".join(cells).rstrip())


def sentences(screen: Console, lines: Iterable[str | None]) -> None:
    """Print each that there is, wrapped."""
    for line in lines:
        if line:
            screen.print(f"  {_wrapped(screen, printable(line), 2)}")


def _wrapped(screen: Console, text: str, indent: int) -> str:
    """A text in lines that a terminal has room for beside the indentation; elsewhere it is one."""
    # A pipe gets whole lines, for whoever searches them.
    room = max(20, screen.width - indent) if screen.is_terminal else 10**9
    return f"\n{'':{indent}}".join(textwrap.wrap(text, room, break_on_hyphens=False) or [""])


def ratio(value: Any) -> str:
    """A share with three digits."""
    return f"{value:.3f}" if isinstance(value, float) else number(value)


def _time(text: str) -> str:
    try:
        return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return printable(text)
