"""`shoal runs --watch`: the runs and sweeps that train now, as a table that changes until all have ended."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from shoal.errors import DamagedError
from shoal.judging import shown_curves
from shoal.names import EPOCH
from shoal.review.catalog import find
from shoal.review.entries import PENDING, Entry, SweepEntry
from shoal.review.listing import short_ids, whats
from shoal.review.settings import read_settings
from shoal.review.terminal_table import TableColumn, status_style, write_table
from shoal.review.values import age
from shoal.review.wording import ago, number
from shoal.rundir import RunDir, Status, read_intact

SECONDS = 1.0
"""Between two looks."""
_NOTHING = "nothing is training"


def watch(screen: Console, paths: Sequence[Path], *, pause: Callable[[float], None] = time.sleep) -> None:
    """Show what trains, and what has ended since this began, until nothing trains any more or Ctrl-C."""
    seen: set[Path] = set()
    # By hand: rich's own thread would draw in the middle of a look.
    with Live(Text(""), console=screen, auto_refresh=False) as live:
        while True:
            known = find([path for path in paths if path.is_dir()])
            running = [entry for entry in known if entry.status == Status.RUNNING]
            # What has ended since stays on the screen, with how it ended.
            seen.update(entry.path for entry in running)
            live.update(table([entry for entry in known if entry.path in seen], screen.width), refresh=True)
            if not running:
                return
            pause(SECONDS)


def table(entries: Sequence[Entry], width: int) -> Text:
    """A line an entry: how far it is, and its newest losses."""
    if not entries:
        return Text(_NOTHING)
    progress = [_progress(entry) for entry in entries]
    columns = [
        TableColumn(title="ID", cells=short_ids(entries)),
        TableColumn(title="TASK", cells=[entry.task for entry in entries], shrinks=True),
        TableColumn(title="STATUS", cells=[entry.status for entry in entries], style=status_style),
        TableColumn(title="AGE", cells=[ago(age(entry)) for entry in entries], right=True, rank=3),
        TableColumn(title="DONE", cells=[done for done, _ in progress], right=True),
        TableColumn(title="NOW", cells=[losses for _, losses in progress], rank=1),
        TableColumn(title="WHAT", cells=whats(entries, brief=True), shrinks=True, rank=2),
    ]
    lines = io.StringIO()
    # The table is written as text in a terminal's colors; Live shows what is rich's own, and gets it read back.
    write_table(Console(file=lines, width=width, force_terminal=True, color_system="standard"), columns)
    return Text.from_ansi(lines.getvalue().rstrip("\n"), no_wrap=True, overflow="ellipsis")


def _progress(entry: Entry) -> tuple[str, str]:
    """How much is done, and the newest losses."""
    if isinstance(entry, SweepEntry):
        counts = entry.counts()
        left = counts[PENDING] + counts[Status.RUNNING]
        return f"{sum(counts.values()) - left}/{sum(counts.values())} runs", ""
    try:
        history, _ = read_intact(RunDir(entry.path).history)
        most = read_settings(entry.path).get("trainer.max_epochs")
    except (DamagedError, OSError):
        return "", ""
    if not history.rows:
        return "", ""
    last = history.rows[-1]
    epochs = f"{int(last[EPOCH]) + 1}/{most}" if isinstance(most, int) and most > 0 else f"{int(last[EPOCH]) + 1}"
    losses = [f"{name} {number(last[name])}" for name in shown_curves(last) if name]
    return f"{epochs} epochs", "  ".join(losses)
