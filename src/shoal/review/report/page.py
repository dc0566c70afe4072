"""The page: the gathered values in a template, with the plotting library inside."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from shoal.review.entries import Entry, untimed
from shoal.review.report.contents import HALVED, Repetitions, Report
from shoal.review.report.gather import gather
from shoal.review.spread import HEADS
from shoal.review.wording import chance, counted, duration, number, printable
from shoal.rundir import write_text

if TYPE_CHECKING:
    from jinja2 import Environment


def write_report(entries: Sequence[Entry], path: Path, *, title: str) -> Path:
    """Write the report about these runs; the file's path.

    Raises:
        ShoalError: where it cannot be written.
    """
    write_text(path, render(entries, title=title))
    return path


def render(entries: Sequence[Entry], *, title: str) -> str:
    """The report about these runs as one HTML document."""
    report = gather(entries, title=title)
    here = files("shoal.review.report")
    template = _environment().from_string((here / "page.html.j2").read_text(encoding="utf-8"))
    # Without spaces, and without nan, which is no JSON to a browser.
    lines = json.dumps(_shared_axes(report), allow_nan=False, separators=(",", ":"))
    return template.render(
        report=report,
        statuses=_statuses(report),
        best=report.groups[0] if report.groups and report.groups[0].first is not None else None,
        total=sum(row.seconds or 0 for row in report.rows),
        written=f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
        broken=[row for row in report.rows if row.rank is None and row.status not in ("running", "completed", HALVED)],
        heat=len(report.settings) >= 2,
        repeats=_repeats(report),
        heads=HEADS,
        against=[_against(report, index) for index in range(len(report.settings))],
        style=(here / "page.css").read_text(encoding="utf-8"),
        script=(here / "page.js").read_text(encoding="utf-8"),
        data=_embedded(_data(report)),
        lines=_packed(lines.encode()),
        plotly=_text((here / "plotly" / "plotly-cartesian.min.js.gz").read_bytes()),
    )


def _environment() -> Environment:
    from jinja2 import Environment, StrictUndefined

    # Escaped: names and notes are the user's, and a page is passed on.
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters |= {
        "number": number,
        "duration": duration,
        "printable": printable,
        "counted": counted,
        "untimed": untimed,
        "chance": chance,
    }
    return page


def _repeats(report: Report) -> str:
    """`seed and task.fold`: what the runs of a group differ in; nothing where each run stands alone."""
    names = [printable(setting.name) for setting in report.settings if setting.repeats]
    return " and ".join(names) if len(report.groups) < len(report.rows) else ""


def _statuses(report: Report) -> list[tuple[str, str, int]]:
    """The statuses of the runs, in words, and how many have which."""
    found = [row.status for row in report.rows]
    words = {HALVED: "stopped by halving", **({"completed": "trained to the end"} if HALVED in found else {})}
    counts = [(status, words.get(status, status), found.count(status)) for status in dict.fromkeys(found)]
    return [*counts, *([("pending", "pending", report.n_pending)] if report.n_pending else [])]


def _against(report: Report, index: int) -> str:
    """What the plot of the metric against a setting shows, in a sentence, for those who do not see it."""
    found = sorted(_medians(report, index), key=lambda pair: -pair[1] if report.rises else pair[1])
    name = report.settings[index].name
    if not found or report.metric is None:
        return f"No completed run has a value for {name}."
    best, worst = found[0], found[-1]
    return (
        f"{report.metric} against {name}: median {number(best[1])} at {number(best[0])}, the best, "
        f"to {number(worst[1])} at {number(worst[0])}."
    )


def _medians(report: Report, setting: int) -> list[tuple[Any, float]]:
    """The median of the metric at each value of a setting."""
    at: dict[Any, list[float]] = {}
    for row in report.rows:
        if row.rank is not None and row.metric is not None:
            at.setdefault(row.values[setting], []).append(row.metric)
    return [(value, median(found)) for value, found in at.items()]


def _data(report: Report) -> dict[str, Any]:
    """What the script sorts, filters and plots."""
    return {
        "metric": report.metric,
        "rises": report.rises,
        "settings": [vars(setting) for setting in report.settings],
        "metrics": report.metrics,
        "rows": [
            [row.id, row.status, row.rank, row.values, row.metric, row.finals, row.epochs, row.seconds]
            for row in report.rows
        ],
        "commands": [row.command for row in report.rows],
        "reasons": [row.reason for row in report.rows],
    }


def _shared_axes(report: Report) -> dict[str, Any]:
    """The curves, each distinct row of epochs once: all runs of a sweep have the same."""
    axes: list[list[float]] = []
    numbers: dict[tuple[float, ...], int] = {}
    metrics: dict[str, list[Any]] = {}
    for name, curves in report.curves.items():
        metrics[name] = []
        for curve in curves:
            if curve is None:
                metrics[name].append(None)
                continue
            axis = tuple(curve["x"])
            if axis not in numbers:
                numbers[axis] = len(axes)
                axes.append(list(axis))
            metrics[name].append([numbers[axis], curve["y"]])
    return {"axes": axes, "metrics": metrics, "groups": [_plain(group) for group in report.groups]}


def _plain(group: Repetitions) -> dict[str, Any]:
    """What the script draws of a group; its spread stands in the table."""
    return {"label": group.label, "rows": group.rows, "curves": group.curves}


def _embedded(data: dict[str, Any]) -> str:
    """JSON that cannot end the script element it stands in, whatever the names in it are."""
    # `</script>` in a note would end the element.
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _packed(content: bytes) -> str:
    """A large part of the page at a third of its size; the browser unpacks it."""
    # Without a time: the same runs make the same page.
    return _text(gzip.compress(content, compresslevel=6, mtime=0))


def _text(packed: bytes) -> str:
    return base64.b64encode(packed).decode()
