"""A run in its directory, for notebooks, tests and the commands that use a trained model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoal.instructions import offer
from shoal.loaded.opened import open_run
from shoal.loaded.trained_run import TrainedRun, Which, named
from shoal.notebook import page
from shoal.rundir import read_history

if TYPE_CHECKING:
    import numpy
    import polars
    from matplotlib.figure import Figure


class Run(TrainedRun):
    """What a run directory holds. Nothing is read before it is asked for.

    `trusted` names modules of the user's own whose classes its configuration may name.
    """

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, status={self.status.value!r})"

    def _repr_png_(self) -> bytes | None:
        files = sorted(self.directory.figures.glob("*.png"))
        return files[0].read_bytes() if files else None

    def _repr_html_(self) -> str:
        info = self.info
        best = f"{info.best.value:.6g} in epoch {info.best.epoch}" if info.best else None
        facts = {
            "status": info.status.value,
            "reason": info.reason,
            f"best {info.best.metric}" if info.best else "best": best,
            "tags": ", ".join(info.tags),
            "note": info.note,
            "settings": " ".join(info.overrides),
            "directory": self.path,
        }
        return page(f"{info.task} {info.id}", facts, self._repr_png_())

    def predict(
        self,
        x: Sequence[Any] | numpy.ndarray[Any, Any] | Mapping[str, Sequence[Any]] | polars.DataFrame,
        which: Which = "best",
        *,
        interval: float | None = None,
    ) -> polars.DataFrame:
        """Predictions for inputs, a row each: numbers (one a sample, or a row a sample), or named columns.

        With an `interval`, a level as 0.95, the ends of intervals stand beside them, as `shoal predict` has them. What
        should be known before they are believed is a warning, a `shoal.errors.Caution`.

        Raises:
            UsageError: where there can be no intervals.
        """
        from shoal.loaded.cautions import warn

        found, inputs = self.predictions(x, which), named(x, self.columns(which).features)
        warn(self.members, which, inputs, found)
        if interval is None:
            return found
        from shoal.loaded.intervals import intervals

        ends, _ = intervals(self, inputs, found, which, interval)
        return found.hstack(ends)

    def evaluate(
        self, which: Which = "best", *, test: bool = False, path: Path | str | None = None
    ) -> dict[str, float]:
        """Metrics of the validation samples, of the `test` part, or of all rows of a labelled table in `path`."""
        from shoal.loaded.evaluation import evaluate

        return evaluate(self, which, test=test, path=None if path is None else Path(path))

    @property
    def figure(self) -> Figure:
        """The figure of the run, drawn anew."""
        from shoal.pictures.rendering import rendered
        from shoal.record.figures.run_figure import fit_chart

        info = self.info
        history = read_history(self.directory.history)
        shown = self.job.presented(self.loaded(self.job, "best"))
        return rendered(fit_chart(shown, self.job.data, history, title=f"{info.task}  {info.id}", info=info))


def load_run(path: Path | str, *, trusted: Collection[str] = ()) -> Run:
    """The run in a directory.

    Raises:
        UsageError: where there is none.
    """
    found = open_run(Path(path), trusted=trusted)
    offer(found.config.get("numerics"))
    return Run(path, trusted=trusted)
