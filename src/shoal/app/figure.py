"""The figure of a run or of a sweep, drawn anew from its directory, in the form that a paper or a slide needs."""

from __future__ import annotations

import io
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from shoal.loaded.run import load_run
from shoal.review.entries import RunEntry, SweepEntry
from shoal.rundir import SweepDir, read_info, read_sweep, write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Format = Literal["pdf", "svg", "png"]


def write_figure(
    entry: RunEntry | SweepEntry, path: Path, format: Format, *, dpi: int, trusted: Collection[str] = ()
) -> None:
    """Draw the figure of a run or a sweep, and write it; text stays text in a PDF and an SVG.

    Raises:
        ShoalError: where the run has no model to show, or the file cannot be written.
    """
    import matplotlib

    drawn = _of_sweep(entry) if isinstance(entry, SweepEntry) else load_run(entry.path, trusted=trusted).figure
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": None}
    content = io.BytesIO()
    with matplotlib.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "shoal"}):
        drawn.savefig(content, format=format, dpi=dpi, metadata=undated[format])
    write_bytes(path, content.getvalue())


def _of_sweep(entry: SweepEntry) -> Figure:
    from shoal.app.multirun.closing import Closing

    sweep = SweepDir(entry.path)
    info = read_sweep(sweep.info)
    runs = {job.number: sweep.run(job) for job in info.jobs}
    results = {number: read_info(run.info) for number, run in runs.items() if run.info.exists()}
    return Closing(sweep, info, {number: run for number, run in results.items() if run.finished}).figure()
