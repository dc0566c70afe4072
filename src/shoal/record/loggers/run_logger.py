"""The logger that the hooks of a run of a stack see."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pytorch_lightning.loggers import Logger

from shoal.record.loggers.recorder import experiment_of
from shoal.record.run_record import RunRecord
from shoal.rundir import RunDir


class RunLogger(Logger):
    """Writes into the run's record once that is open; what it is told before waits."""

    def __init__(self, run: RunDir) -> None:
        super().__init__()
        self.run = run
        self.given: dict[str, float] = {}
        """Numbers of the epoch that it was told."""
        self._waiting: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self._writer: Any = None

    @property
    def name(self) -> str:
        return "shoal"

    @property
    def version(self) -> str:
        return self.run.path.name

    @property
    def save_dir(self) -> str:
        return str(self.run.path)

    @property
    def log_dir(self) -> str:
        """The run's directory."""
        return self.save_dir

    @property
    def experiment(self) -> Any:
        """A `SummaryWriter` of torch's, into the run's event file."""
        return _Writer(self)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Have these numbers in the row of the epoch."""
        self.given |= {name: float(value) for name, value in metrics.items()}

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the configuration is recorded as it is."""

    def open(self, record: RunRecord) -> None:
        """Write what has waited into this record, and all that follows."""
        self._record = record
        for name, args, kwargs in self._waiting:
            self.write(name, *args, **kwargs)
        self._waiting = []

    def write(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the writer."""
        # Hooks of the beginning run when the stack is probed: it may turn out unfit, and until then nothing is written.
        if not hasattr(self, "_record"):
            self._waiting.append((name, args, kwargs))
            return None
        self._writer = self._writer or experiment_of(self._record)
        return getattr(self._writer, name)(*args, **kwargs)


@contextmanager
def nowhere() -> Iterator[RunLogger]:
    """A logger for hooks that are called for a look at what follows: nothing remains of what it is told."""
    with TemporaryDirectory() as folder:
        yield RunLogger(RunDir(Path(folder)))


class _Writer:
    def __init__(self, logger: RunLogger) -> None:
        self._logger = logger

    def __getattr__(self, name: str) -> Any:
        # By name, whatever it is: there may be no writer yet to look the method up in.
        return lambda *args, **kwargs: self._logger.write(name, *args, **kwargs)
