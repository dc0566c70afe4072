"""The figure of a run or of a sweep, drawn anew from its directory, in the form that a paper or a slide needs."""

from __future__ import annotations

import io
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from shoal.loaded.run import Run, load_run
from shoal.review.entries import RunEntry, SweepEntry
from shoal.rundir import SweepDir, read_info, read_sweep, write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from shoal.loaded.ensemble import Ensemble

Format = Literal["pdf", "svg", "png"]


def write_figure(
    of: RunEntry | SweepEntry | Run | Ensemble, path: Path, format: Format, *, dpi: int, trusted: Collection[str] = ()
) -> None:
    """Draw the figure of a run, a sweep or runs of one that predict together, and write it; text stays text.

    Raises:
        ShoalError: where there is no model to show, or the file cannot be written.
    """
    import matplotlib

    drawn = _figure(of, trusted)
    # Without a date, and with the salt below, the same figure is the same file.
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": None}
    content = io.BytesIO()
    # 42 is TrueType, which journals ask for; `none` leaves text in an SVG to the reader's fonts.
    with matplotlib.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "shoal"}):
        # Into memory: a figure that fails half drawn leaves no file.
        drawn.savefig(content, format=format, dpi=dpi, metadata=undated[format])
    write_bytes(path, content.getvalue())


def _figure(of: RunEntry | SweepEntry | Run | Ensemble, trusted: Collection[str]) -> Figure:
    if isinstance(of, SweepEntry):
        return _of_sweep(of)
    return load_run(of.path, trusted=trusted).figure if isinstance(of, RunEntry) else of.figure


def _of_sweep(entry: SweepEntry) -> Figure:
    from shoal.app.multirun.sweep_end import Closing

    sweep = SweepDir(entry.path)
    info = read_sweep(sweep.info)
    runs = {job.number: sweep.run(job) for job in info.jobs}
    results = {number: read_info(run.info) for number, run in runs.items() if run.info.exists()}
    # As at the end of the sweep; what still trains has no result to show.
    return Closing(sweep, info, {number: run for number, run in results.items() if run.finished}).figure()
