"""How a sweep says how far it is: one line that changes on a terminal, a new line now and then elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from shoal.errors import shown
from shoal.judging import measured, place, yardstick
from shoal.names import halved
from shoal.notebook import changing_line
from shoal.rundir import RunInfo, Status
from shoal.streams import copied
from shoal.sweeps.block import Advanced, Block
from shoal.sweeps.pace import Pace

LINE_SECONDS = 10.0
REFRESH_SECONDS = 0.2


class SweepProgress:
    """Counts runs as they end, and says how long the rest will take once that can be known."""

    def __init__(self, total: int, *, done: int = 0) -> None:
        self.total = total
        self.kept = done
        self.ended = 0
        self.bad: dict[Status, int] = {}
        self._whole: list[RunInfo] = []
        """The runs that were trained to the end."""
        self._pace = Pace()
        self._shown = time.monotonic()
        self._pause = 0.0
        self._out: Any = sys.stderr
        self._live: Any = None
        self._line: Callable[[str], None] | None = None

    def __enter__(self) -> SweepProgress:
        self._line = changing_line()
        self._out = copied(sys.stderr)  # what is printed while a block trains in this process goes into its log
        if self._line is None and self._out.isatty():
            from rich.console import Console
            from rich.live import Live

            # Transient: in the end the summary stands where the line was. Drawn when there is news, and by no thread.
            self._live = Live(self._text(), console=Console(file=self._out), auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._line:
            self._line(self.line())
        if self._live:
            self._live.stop()
        if self._out is not sys.stderr:
            self._out.close()

    def expect(self, blocks: Sequence[Block]) -> None:
        """There are these blocks to train."""
        self._pace.expect(blocks)

    def advanced(self, block: Block, event: Advanced) -> None:
        """A block has come so far."""
        self._pace.advanced(block, event.fraction)
        self.show()

    def finished(self, block: Block) -> None:
        """A block has come to its end."""
        self._pace.finished(block)

    def run_ended(self, number: int, info: RunInfo) -> None:
        """A run has come to its end."""
        self._pace.run_ended(number)
        if info.status is not Status.COMPLETED:
            self.bad[info.status] = self.bad.get(info.status, 0) + 1
        self.ended += info.status is not Status.INTERRUPTED
        if info.status is Status.COMPLETED and not halved(info.reason):
            self._whole.append(info)
        self.show()

    def tell(self, text: str) -> None:
        """Say something above the line, for good."""
        if self._live:
            # As it is: Rich would take brackets in a reason for its markup.
            self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self._out, flush=True)

    def show(self) -> None:
        """Show where the sweep stands, if the last time is long enough ago."""
        began = time.monotonic()
        if began - self._shown < max(REFRESH_SECONDS if self._live or self._line else LINE_SECONDS, self._pause):
            return
        if self._live:
            self._live.update(self._text(), refresh=True)
        elif self._line:
            self._line(self.line())
        else:
            print(self.line(), file=self._out, flush=True)
        self._shown = time.monotonic()
        self._pause = 20 * (self._shown - began)  # of very many runs it takes long to find the best

    def line(self) -> str:
        """Runs done and failed, the time left, and the best so far; what may be long comes last."""
        parts = [f"runs {self.kept + self.ended}/{self.total}"]
        parts += [f"{n} {status}" for status, n in self.bad.items()]
        left = self._pace.seconds_left()
        if left is not None:
            parts.append(f"{clock(max(math.ceil(left), 1))} left")
        return "  ".join([*parts, *self._best()])

    def _best(self) -> list[str]:
        """What the best run so far has come to, by what all of them can be compared by."""
        by = yardstick(self._whole)
        known = [(value, run) for run in self._whole if by and (value := measured(run, by.metric)) is not None]
        if not by or not known:
            return []
        value, best = min(known, key=lambda pair: place(pair[0], by.way))
        at = " ".join(f"{name}={shown(setting, brief=True)}" for name, setting in best.differs.items())
        return [f"best {by.metric} {value:.4g} ({at})" if at else f"best {by.metric} {value:.4g}"]

    def _text(self) -> Any:
        """The line for a terminal: one line, however narrow it is."""
        from rich.text import Text

        return Text(self.line(), no_wrap=True, overflow="ellipsis")


def clock(seconds: float) -> str:
    """`1:05:20`, `5:20` or `0:07`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
