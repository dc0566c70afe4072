"""`shoal board`: TensorBoard on this machine only, on the runs that are asked for."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlencode

from shoal.errors import ExitCode, ShoalError, UsageError
from shoal.judging import shown_curves
from shoal.review.entries import Entry, RunEntry, runs, untimed
from shoal.review.listing import distinction
from shoal.review.values import main_metric, ranked

HOST = "127.0.0.1"
_PORT = 6006
_LONGEST = 80
_SEPARATORS = "/\\:\0"


def preselected(entries: Sequence[RunEntry], limit: int) -> list[RunEntry]:
    """At most `limit` runs that stand for all: the best half, then others spread evenly down to the worst."""
    with_events = [run for run in entries if run.dir.events()]
    if len(with_events) <= limit:
        return with_events
    metric = main_metric(with_events)
    best_first = ranked(with_events, metric) if metric else []
    ordered = [*best_first, *(run for run in with_events if run not in best_first)]
    # Not the best alone: whoever looks for what went wrong needs the bad ones beside them.
    n_best = (limit + 1) // 2
    n_others = limit - n_best
    rest = ordered[n_best:]
    others = [rest[round(i * (len(rest) - 1) / max(1, n_others - 1))] for i in range(n_others)]
    return [*ordered[:n_best], *others]


@contextmanager
def board_folder(chosen: Sequence[RunEntry]) -> Iterator[Path]:
    """The folder to point TensorBoard at: that of the one run, else one of links named by what sets the runs apart."""
    if len(chosen) == 1:
        yield chosen[0].path
        return
    with tempfile.TemporaryDirectory(prefix="shoal-board-") as folder:
        for run in chosen:
            # Links, as TensorBoard shows the names of folders below its log directory.
            (Path(folder) / label(run)).symlink_to(run.path.absolute())
        yield Path(folder)


def label(run: RunEntry) -> str:
    """A file name that says what a run is: `lr=0.01 seed=3 k3f9x2-0003`, without separators."""
    words = distinction(run.summary, brief=True) if run.summary else ""
    name = f"{(words or run.task)[:_LONGEST]} {untimed(run.id)[:_LONGEST]}"
    return "".join("_" if letter in _SEPARATORS else letter for letter in name)


def address(chosen: Sequence[RunEntry], port: int) -> str:
    """Where TensorBoard shows these runs, their losses pinned above all other curves."""
    names = dict.fromkeys(name for run in chosen if run.summary for name in run.summary.final)
    # Reversed: what is pinned last stands first.
    pins = [{"plugin": "scalars", "tag": name} for name in reversed(shown_curves(names)) if name]
    query = urlencode({"pinnedCards": json.dumps(pins)}, quote_via=quote)
    return f"http://{HOST}:{port}/{f'?{query}' if pins else ''}#timeseries"


def free_port() -> int:
    """The first port from TensorBoard's own on that nobody listens at."""
    for port in range(_PORT, _PORT + 100):
        with socket.socket() as tried:
            # Non-zero: nobody has answered.
            if tried.connect_ex((HOST, port)):
                return port
    return _PORT


def serve(folder: Path, *, port: int) -> int:
    """Run TensorBoard until it is stopped; its exit code.

    Raises:
        ShoalError: where it is not installed or ends by itself.
    """
    words = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--host", HOST, "--port", str(port)]
    process = subprocess.Popen(words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or TensorBoard and the links would outlive this process
    try:
        # Ctrl-C reaches both processes: TensorBoard ends by itself, or is told to below.
        code = process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        return int(ExitCode.OK)
    if code:
        raise ShoalError(f"tensorboard ended with exit code {code}", hint="another --port may help")
    return int(ExitCode.OK)


def chosen_runs(entries: Sequence[Entry], *, limit: int | None) -> list[RunEntry]:
    """The runs to show, all of them where there is no limit.

    Raises:
        UsageError: where none of the runs has an event file.
    """
    every = runs(entries)
    chosen = preselected(every, limit or len(every))
    if not chosen:
        raise UsageError(
            "none of the runs has a TensorBoard event file", hint="they are written with logger=tensorboard"
        )
    return chosen
