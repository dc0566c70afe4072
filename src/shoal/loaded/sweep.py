"""A sweep in its directory, for notebooks and tests."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from shoal.loaded.run import Run
from shoal.rundir import Status, SweepDir, SweepInfo, read_info, read_sweep

if TYPE_CHECKING:
    import polars


class Sweep:
    """What the directory of a sweep holds. Nothing is read before it is asked for.

    `trusted` names modules of the user's own whose classes its configurations may name.
    """

    def __init__(self, path: Path | str, *, trusted: Collection[str] = ()) -> None:
        self.path = Path(path)
        self.trusted = tuple(trusted)

    def __repr__(self) -> str:
        return f"Sweep({str(self.path)!r}, status={self.status.value!r}, {len(self.info.jobs)} jobs)"

    @property
    def directory(self) -> SweepDir:
        """Where each file lies."""
        return SweepDir(self.path)

    @property
    def info(self) -> SweepInfo:
        """What sweep.json says."""
        return read_sweep(self.directory.info)

    @property
    def status(self) -> Status:
        """How the sweep stands."""
        return self.info.status

    @property
    def runs(self) -> list[Run]:
        """The runs that have begun, in the order of their jobs."""
        found = [self.directory.run(job) for job in self.info.jobs]
        return [Run(run.path, trusted=self.trusted) for run in found if run.info.exists()]

    @property
    def table(self) -> polars.DataFrame:
        """A row a run that has begun: its job, its status, the settings that differ, and its final metrics."""
        import polars

        rows = []
        for run in self.runs:
            info = read_info(run.directory.info)
            best = {f"best {info.best.metric}": info.best.value} if info.best else {}
            rows.append({"job": info.job, "status": info.status.value, **info.differs, **best, **info.final})
        return polars.DataFrame(rows, infer_schema_length=None)
