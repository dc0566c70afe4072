"""What `self.logger.experiment` gives: TensorBoard's writer, into the run's own event file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard.writer import FileWriter, SummaryWriter

from shoal.record.loggers.events import EventFile, framed


class Experiment(SummaryWriter):
    """All that torch's `SummaryWriter` adds becomes part of the event file of the run, and is cut back with it.

    What that would put into folders beside it (`add_scalars`, `add_hparams`) are curves here.
    """

    def __init__(self, events: EventFile, folder: Path) -> None:
        # First: torch's constructor asks for the file writer.
        self._into = _Into(events, folder)
        super().__init__(str(folder))

    def add_scalars(
        self,
        main_tag: str,
        tag_scalar_dict: Mapping[str, Any],
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """A curve for each name, under a common one."""
        for name, value in tag_scalar_dict.items():
            self.add_scalar(f"{main_tag}/{name}", value, global_step, walltime)

    def add_hparams(
        self,
        hparam_dict: Mapping[str, Any],
        metric_dict: Mapping[str, Any],
        hparam_domain_discrete: Any = None,
        run_name: str | None = None,
        global_step: int | None = None,
    ) -> None:
        """Curves of the metrics; the settings are those of the configuration, which the HParams tab has already."""
        for name, value in metric_dict.items():
            self.add_scalar(name, value, global_step)

    def close(self) -> None:
        """Bring the file up to date; it is the run's, and stays open."""
        self.flush()

    def _get_file_writer(self) -> FileWriter:
        # Torch's own method would make a second event file in the run's directory.
        vars(self).update(file_writer=self._into, all_writers={self._into.get_logdir(): self._into})
        return self._into


class _Into(FileWriter):
    """Adds to an event file that there is already."""

    def __init__(self, events: EventFile, folder: Path) -> None:
        # Without FileWriter's constructor, which makes a file.
        self._events = events
        self._folder = str(folder)

    def get_logdir(self) -> str:
        return self._folder

    def add_event(self, event: Any, step: Any = None, walltime: float | None = None) -> None:
        event.wall_time = time.time() if walltime is None else walltime
        if step is not None:
            event.step = int(step)
        self._events.add(framed(event.SerializeToString()))

    def flush(self) -> None:
        self._events.flush()
