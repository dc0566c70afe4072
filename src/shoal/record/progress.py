"""How a run says how far it is: a bar on a terminal, a line that changes in a notebook, new lines elsewhere."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Annotated, Any, TextIO, cast

import pytorch_lightning as pl
from annotated_types import Gt

from shoal.judging import shown_curves
from shoal.names import EPOCH
from shoal.notebook import changing_line


class Progress(pl.Callback):
    """Shows epochs done, steps a second, the losses and the time left, at most every `refresh_seconds`."""

    def __init__(
        self, *, refresh_seconds: Annotated[float, Gt(0)] = 0.2, line_seconds: Annotated[float, Gt(0)] = 10.0
    ) -> None:
        self.refresh_seconds = refresh_seconds
        self.line_seconds = line_seconds
        self._bar: Any = None
        self._task: Any = None
        self._line: Callable[[str], None] | None = None
        self._row: Mapping[str, float] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to show, on a terminal with a bar."""
        self._began = self._shown = time.monotonic()
        self._first_step = trainer.global_step
        self._line = changing_line() if trainer.is_global_zero else None
        if self._line is None and sys.stderr is not None and sys.stderr.isatty() and trainer.is_global_zero:
            self._bar = _bar()
            total = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None
            self._task = self._bar.add_task("", total=total, completed=trainer.current_epoch, losses="", rate="")
            self._bar.start()

    def row(self, row: Mapping[str, float]) -> None:
        """Take note of the newest metrics."""
        self._row = row

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the state if the last time is long enough ago."""
        now = time.monotonic()
        if now - self._shown >= (self.refresh_seconds if self._bar or self._line else self.line_seconds):
            self._shown = now
            self._show(trainer)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Show the final state, the last state having been saved, and give the terminal back."""
        if self._bar or self._line:
            self._show(trainer)
        self.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give the terminal back."""
        self.stop()

    def stop(self) -> None:
        """End the bar."""
        if self._bar:
            self._bar.stop()
        self._bar = self._line = None

    def _show(self, trainer: pl.Trainer) -> None:
        # Only steps of this process: a resumed run begins with many, none of which took its time.
        seconds = max(time.monotonic() - self._began, 1e-9)
        rate = f"{(trainer.global_step - self._first_step) / seconds:.0f} steps/s"
        losses = "  ".join(f"{name} {self._row[name]:.4g}" for name in shown_curves(self._row) if name)
        if self._bar:
            self._bar.update(self._task, completed=trainer.current_epoch, losses=losses, rate=rate)
        elif trainer.is_global_zero:
            # Of the row that is shown: it is closed when the next one begins, and the Trainer may be an epoch further.
            epoch = int(self._row.get(EPOCH, trainer.current_epoch - 1)) + 1
            of = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
            text = f"epoch {epoch}{of}  {losses}  {rate}"
            with suppress(OSError, ValueError):  # nobody reads it any more
                self._line(text) if self._line else print(text, file=sys.stderr, flush=True)


class _Terminal(io.TextIOBase):
    """A terminal that may go away: what is written then is lost, and nothing else is."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def isatty(self) -> bool:
        return bool(self.stream.isatty())

    def fileno(self) -> int:
        return int(self.stream.fileno())

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self.stream.flush()


def _bar() -> Any:
    # Late: only a terminal needs it.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("epoch"),
        MofNCompleteColumn(),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[losses]}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        # Not Rich's own choice, stderr itself: a terminal that goes away would end the training.
        console=Console(file=cast(TextIO, _Terminal(sys.stderr))),
        auto_refresh=True,
        refresh_per_second=5,
        expand=True,
    )
