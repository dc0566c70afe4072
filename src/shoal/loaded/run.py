"""A run in its directory, for notebooks, tests and the commands that use a trained model."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from shoal.errors import UsageError, from_source
from shoal.instructions import offer
from shoal.loaded.opened import OpenedRun, open_run
from shoal.notebook import page
from shoal.rundir import RunDir, RunInfo, Status, read_history, read_info
from shoal.rundir.log import quiet_logging

if TYPE_CHECKING:
    import numpy
    import polars
    import pytorch_lightning as pl
    from matplotlib.figure import Figure
    from torch import nn

    from shoal.engines.job import Job
    from shoal.tasks import Data, Supervised
    from shoal.tasks.tables.format import Format

Which = Literal["best", "last"]


class Run:
    """What a run directory holds. Nothing is read before it is asked for.

    `trusted` names modules of the user's own whose classes its configuration may name.
    """

    def __init__(self, path: Path | str, *, trusted: Collection[str] = ()) -> None:
        self.path = Path(path)
        self.trusted = tuple(trusted)

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

    @property
    def members(self) -> tuple[Run, ...]:
        """The runs that predict: this one."""
        return (self,)

    @property
    def directory(self) -> RunDir:
        """Where each file lies."""
        return RunDir(self.path)

    @property
    def info(self) -> RunInfo:
        """What run.json says."""
        return read_info(self.directory.info)

    @property
    def status(self) -> Status:
        """How the run stands."""
        return self.info.status

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration."""
        return self._stored.config

    @property
    def metrics(self) -> polars.DataFrame:
        """The history: a row a logged step, a column a metric."""
        import polars

        history = read_history(self.directory.history)
        return polars.DataFrame(history.rows, schema=history.columns, orient="row", infer_schema_length=None)

    def model(self, which: Which = "best") -> nn.Module:
        """The trained network in evaluation mode, with its best weights or its last."""
        return self.presented(which).model

    def presented(self, which: Which = "best") -> Supervised:
        """The trained module as what predicts and is shown: its network beside its task."""
        return self.trained(which).presented(self.module(which))

    def module(self, which: Which = "best") -> pl.LightningModule:
        """The LightningModule that was trained, in evaluation mode.

        Raises:
            UsageError: where the run has saved no such state.
            DamagedError: where the checkpoint is not what was written.
        """
        return self.loaded(self.trained(which), which)

    def loaded(self, job: Job, which: Which = "best") -> pl.LightningModule:
        """The module of a job with the weights of the run."""
        from shoal.record.ownership import refuse_another

        state = self._checkpoint(which)
        module = job.module_for(state["state_dict"])
        refuse_another(self.path, state, module)
        module.load_state_dict(state["state_dict"])
        return module.eval()

    def predict(
        self,
        x: Sequence[Any] | numpy.ndarray[Any, Any] | Mapping[str, Sequence[Any]] | polars.DataFrame,
        which: Which = "best",
    ) -> polars.DataFrame:
        """Predictions for inputs, a row each: numbers (one a sample, or a row a sample), or named columns.

        What should be known before they are believed is a warning, a `shoal.errors.Caution`.
        """
        from shoal.loaded.cautions import warn

        found = self.predictions(x, which)
        warn(self, which, named(x, self.columns(which).features), found)
        return found

    def predictions(self, x: Any, which: Which = "best") -> polars.DataFrame:
        """The same, without a word."""
        import polars
        import torch

        from shoal.tasks.precision import new_tensors

        module, columns = self.presented(which), self.columns(which)
        dtype = next(module.model.parameters()).dtype
        with torch.no_grad(), new_tensors(double=dtype == torch.float64):
            encoded = module.task.encode(named(x, columns.features), columns)
            outputs = module.model(encoded.to(dtype))
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        return polars.DataFrame(module.task.decode(outputs, columns))

    def columns(self, which: Which = "best") -> Data:
        """The names of inputs and predictions, and what encodes them: as they were when the run was trained."""
        import torch

        from shoal.record.checkpoint_file import EXTRA
        from shoal.tasks import Data, Split

        kept = self._checkpoint(which)[EXTRA]["columns"]
        nothing = Split(torch.zeros(0, len(kept["features"])), torch.zeros(0, len(kept["targets"])))
        return Data(nothing, None, tuple(kept["features"]), tuple(kept["targets"]), kept["encoding"])

    def ranges(self, which: Which = "best") -> Mapping[str, Sequence[float]]:
        """The least and the greatest value that inputs had in training, as far as that was kept."""
        from shoal.record.checkpoint_file import EXTRA

        found: Mapping[str, Sequence[float]] = self._checkpoint(which)[EXTRA]["columns"].get("ranges", {})
        return found

    def format(self, which: Which = "best") -> Format:
        """How tables are written that the run was trained on, and that it predicts."""
        from shoal.tasks.tables.format import Format

        return getattr(self.trained(which).task, "format", Format())

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the model's inputs."""
        return self.columns("best").features

    def evaluate(
        self, which: Which = "best", *, test: bool = False, path: Path | str | None = None
    ) -> dict[str, float]:
        """Metrics of the validation samples, of the `test` part, or of all rows of a labelled table in `path`."""
        from shoal.loaded.evaluation import evaluate

        return evaluate(self, which, test=test, path=None if path is None else Path(path))

    @property
    def figure(self) -> Figure:
        """The figure of the run, drawn anew."""
        from shoal.record.figures.fit import fit_figure

        info = self.info
        history = read_history(self.directory.history)
        shown = self.job.presented(self.loaded(self.job, "best"))
        return fit_figure(shown, self.job.data, history, title=f"{info.task}  {info.id}", info=info)

    @cached_property
    def job(self) -> Job:
        """The job that the configuration describes."""
        from shoal.build.job import job

        with self.building():
            return job(self.config)

    def trained(self, which: Which = "best") -> Job:
        """The job as far as predictions need it: the file of a table may be gone."""
        from shoal.build.job import trained_job
        from shoal.record.checkpoint_file import EXTRA

        encoding = self._checkpoint(which)[EXTRA]["columns"]["encoding"]
        with self.building():
            return trained_job(self.config, encoding)

    @contextmanager
    def building(self) -> Iterator[None]:
        """Where a configuration from a run directory becomes objects."""
        from shoal.build.importing import importing
        from shoal.build.trust import refuse_impostors

        with quiet_logging(), importing(), from_source(str(self.directory.config)):
            refuse_impostors(self.config, self.trusted)
            yield

    @cached_property
    def _stored(self) -> OpenedRun:
        return open_run(self.path, trusted=self.trusted)

    def _checkpoint(self, which: Which) -> dict[str, Any]:
        from shoal.record.checkpoint_file import load

        path = self.directory.best if which == "best" and self.directory.best.exists() else self.directory.last
        if not path.exists():
            raise UsageError(f"{self.path} has no checkpoint: it stopped before it saved one")
        return load(path)


def load_run(path: Path | str, *, trusted: Collection[str] = ()) -> Run:
    """The run in a directory.

    Raises:
        UsageError: where there is none.
    """
    found = open_run(Path(path), trusted=trusted)
    offer(found.config.get("numerics"))
    return Run(path, trusted=trusted)


def named(x: Any, features: Sequence[str]) -> dict[str, list[Any]]:
    """Inputs as named columns.

    Raises:
        UsageError: where an array has not as many columns as the model has inputs.
    """
    if hasattr(x, "to_dict") and hasattr(x, "columns"):
        return {str(name): list(x[name]) for name in x.columns}
    if isinstance(x, Mapping):
        return {str(name): list(column) for name, column in x.items()}
    import numpy

    table = numpy.asarray(x)
    table = table.reshape(-1, 1) if table.ndim < 2 else table
    if table.shape[1] != len(features):
        raise UsageError(
            f"the input has {table.shape[1]} columns; the model takes {len(features)}: {', '.join(features)}"
        )
    return {name: table[:, i].tolist() for i, name in enumerate(features)}
