"""Where each file of a run lies, and what a run is called."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
"""Letters of an id: no two look alike."""


def new_id() -> str:
    """`20261122-101530-k3f9x2`: sorts by time, and 30 bits of chance keep runs of one second apart.

    The time is UTC: the clock on the wall has one hour of the year twice, and another one on another machine.
    """
    # Not from `random`, which is seeded for the training: runs of one seed must not share an id.
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{''.join(secrets.choice(_LETTERS) for _ in range(6))}"


def job_name(number: int) -> str:
    """`0042`: the name of the run directory of a sweep's job."""
    # Names in the order of numbers when they are sorted as text, up to ten thousand jobs.
    return f"{number:04d}"


@dataclass(frozen=True)
class RunDir:
    """The files of one run directory."""

    path: Path

    @property
    def info(self) -> Path:
        """Status, metrics, versions, digests: `rundir.info.RunInfo` as JSON."""
        return self.path / "run.json"

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def history(self) -> Path:
        """One row a logged step, one column a metric."""
        return self.path / "metrics.csv"

    @property
    def log(self) -> Path:
        """What the run said."""
        return self.path / "train.log"

    @property
    def patch(self) -> Path:
        """What the working tree had changed against its commit."""
        return self.path / "patch.diff"

    @property
    def hydra(self) -> Path:
        """Hydra's own record."""
        return self.path / ".hydra"

    @property
    def lock(self) -> Path:
        """Held by the process that trains here."""
        return self.path / ".lock"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def last(self) -> Path:
        """Where training stands."""
        return self.checkpoints / "last.ckpt"

    @property
    def best(self) -> Path:
        """Where the monitored metric was best."""
        return self.checkpoints / "best.ckpt"

    @property
    def figures(self) -> Path:
        """Folder of the figures."""
        return self.path / "figures"

    @property
    def fit_figure(self) -> Path:
        """Data, truth and prediction; residuals; loss curves."""
        return self.figures / "fit.png"

    def events(self) -> list[Path]:
        """The TensorBoard event files."""
        return sorted(self.path.glob("events.out.tfevents.*"))

    def artifacts(self) -> list[Path]:
        """Files whose digest run.json records: all that training leaves behind but the log, the lock and run.json."""
        single = [self.config, self.history, self.patch, self.last, self.best]
        files = [*single, *self.events(), *sorted(self.figures.glob("*.png"))]
        return [file for file in files if file.is_file()]
