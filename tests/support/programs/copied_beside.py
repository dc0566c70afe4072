"""Have copies of this process draw, be left and be killed; print as JSON what became of them.

It is meant for a process of its own, which has neither threads nor matplotlib.
"""

from __future__ import annotations

import hashlib
import json
import logging

from shoal.pictures import Chart, Line, Panel, beside
from shoal.pictures.copied import Copy

CHART = Chart(title="\U000107ff", panels=[Panel(marks=[Line(x=[1, 2], y=[1, 2], color="k")])], width=4)
beside.cores = lambda: 2  # type: ignore[attr-defined]
told: list[str] = []
handler = logging.Handler()
handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
logging.getLogger().addHandler(handler)


def begun() -> Copy:
    """A copy that waits for a chart."""
    beside.begin()
    assert isinstance(beside._process, Copy)
    return beside._process


def drawn() -> str:
    """The digest of the picture."""
    return hashlib.sha256(beside.drawn(CHART)).hexdigest()


first = begun()
there = drawn()
logged = len(told)
left = begun()
left.stdin.close()
left.wait()
beside.end()
killed = begun()
killed.kill()
here = drawn()
codes = [each.returncode for each in (first, left, killed)]
print(json.dumps({"codes": codes, "logged": logged, "alike": there == here}))
