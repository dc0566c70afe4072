"""A sweep in its directory, for notebooks and tests."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shoal.errors import UsageError
from shoal.loaded.run import Run
from shoal.notebook import page
from shoal.review.wording import settings
from shoal.rundir import Status, SweepDir, SweepInfo, read_info, read_sweep

if TYPE_CHECKING:
    import polars

    from shoal.loaded.ensemble import Ensemble
    from shoal.review.entries import SweepEntry


@dataclass(frozen=True)
class SweepPicture:
    """A picture in a file, which a notebook shows."""

    path: Path

    def _repr_png_(self) -> bytes:
        return self.path.read_bytes()


class Sweep:
    """What the directory of a sweep holds. Nothing is read before it is asked for.

    `trusted` names modules of the user's own whose classes its configurations may name.
    """

    def __init__(self, path: Path | str, *, trusted: Collection[str] = ()) -> None:
        self.path = Path(path)
        self.trusted = tuple(trusted)

    def __repr__(self) -> str:
        return f"Sweep({str(self.path)!r}, status={self.status.value!r}, {len(self.info.jobs)} jobs)"

    def _repr_png_(self) -> bytes | None:
        return self.directory.figure.read_bytes() if self.directory.figure.exists() else None

    def _repr_html_(self) -> str:
        info, best = self.info, self.best
        found = best.info.best if best else None
        facts = {
            "status": info.status.value,
            "runs": len(info.jobs),
            "over": ", ".join(info.varies),
            f"best {found.metric}" if found else "best": f"{found.value:.6g}" if found else None,
            "with": settings(best.info.differs) if best else None,
            "tags": ", ".join(info.tags),
            "note": info.note,
            "directory": self.path,
        }
        return page(f"{info.task} {info.id}", facts, self._repr_png_())

    @property
    def best(self) -> Run | None:
        """The best run, by what the runs are judged by: of the setting whose mean over seeds and folds is best."""
        from shoal.review.values import best_run

        found = best_run(self._entry.runs)
        return Run(found.path, trusted=self.trusted) if found else None

    def ensemble(self, best: int | None = None) -> Ensemble:
        """Runs that predict together: of the best setting all seeds and folds, or the `best` few runs.

        Raises:
            UsageError: where no run, or not so many, were trained to the end.
        """
        from shoal.loaded.ensemble import ensemble

        return ensemble(self._entry, best, trusted=self.trusted)

    @property
    def figure(self) -> SweepPicture | None:
        """The metric against each swept setting, and the learning curves: shown in a notebook, else its file."""
        return SweepPicture(self.directory.figure) if self.directory.figure.exists() else None

    def report(self, path: Path | str | None = None) -> Path:
        """Write the report, one HTML file; its path."""
        from shoal.review.report import write_report

        entry = self._entry
        return write_report([entry], Path(path) if path else self.directory.report, title=f"{entry.task} {entry.id}")

    @property
    def _entry(self) -> SweepEntry:
        from shoal.review.entries import SweepEntry
        from shoal.review.reference import at_path

        found = at_path(self.path)
        if not isinstance(found, SweepEntry):
            raise UsageError(f"{self.path} is no sweep")
        return found

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
        # By all rows: a metric may be whole in the first hundred.
        return polars.DataFrame(rows, infer_schema_length=None)
