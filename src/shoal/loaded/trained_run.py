"""What a run directory holds, read as it is asked for: records, configuration, the trained model."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from shoal.errors import UsageError, from_source
from shoal.loaded.opened import OpenedRun, open_run, untold
from shoal.rundir import RunDir, RunInfo, Status, read_history, read_info
from shoal.rundir.log import quiet_logging

if TYPE_CHECKING:
    import polars
    import pytorch_lightning as pl
    from torch import nn

    from shoal.engines.job import Job
    from shoal.tasks import Data, Supervised
    from shoal.tasks.tables.format import Format

Which = Literal["best", "last"]


class TrainedRun:
    """The files of a run, and what was trained in it; what is told and shown of it is a `Run`'s."""

    def __init__(self, path: Path | str, *, trusted: Collection[str] = ()) -> None:
        self.path = Path(path)
        self.trusted = tuple(trusted)
        self._known: dict[tuple[Path, int, int], Mapping[str, Any]] = {}
        """What checkpoints say of columns: the file, when it was written, its size -> that."""

    @property
    def members(self) -> tuple[TrainedRun, ...]:
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
        from shoal.record.checkpoints.ownership import refuse_another

        state = self._checkpoint(which)
        # By the names in it: some modules make their layers only as a training begins.
        module = job.module_for(state["state_dict"])
        refuse_another(self.path, state, module)
        # Strictly: a weight that is missing would be a random one.
        module.load_state_dict(state["state_dict"])
        return module.eval()

    def predictions(self, x: Any, which: Which = "best") -> polars.DataFrame:
        """Predictions for inputs, a row each, without a word on whether to believe them."""
        import polars
        import torch

        from shoal.tasks.precision import new_tensors

        module, columns = self.presented(which), self.columns(which)
        dtype = next(module.model.parameters()).dtype
        with torch.no_grad(), new_tensors(double=dtype == torch.float64):
            encoded = module.task.encode(named(x, columns.features), columns)
            outputs = module.model(encoded.to(dtype))
        # Tables have no column of bfloat16.
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        return polars.DataFrame(module.task.decode(outputs, columns))

    def columns(self, which: Which = "best") -> Data:
        """The names of inputs and predictions, and what encodes them: as they were when the run was trained."""
        import torch

        from shoal.tasks import Data, Split
        from shoal.tasks.forward_input import ForwardInput

        kept = self._columns(which)
        nothing = Split(torch.zeros(0, len(kept["features"])), torch.zeros(0, len(kept["targets"])))
        names = (tuple(kept["features"]), tuple(kept["targets"]))
        shaped = tuple(ForwardInput(**{**each, "shape": tuple(each["shape"])}) for each in kept.get("shaped", ()))
        return Data(nothing, None, *names, kept["encoding"], shaped=shaped)

    def ranges(self, which: Which = "best") -> Mapping[str, Sequence[float]]:
        """The least and the greatest value that inputs had in training, as far as that was kept."""
        found: Mapping[str, Sequence[float]] = self._columns(which).get("ranges", {})
        return found

    def format(self, which: Which = "best") -> Format:
        """How tables are written that the run was trained on, and that it predicts."""
        from shoal.tasks.tables.format import Format

        return getattr(self.trained(which).task, "format", Format())

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the model's inputs."""
        return self.columns("best").features

    @cached_property
    def job(self) -> Job:
        """The job that the configuration describes."""
        from shoal.build.checked_job import job

        with self.building():
            return job(untold(self.config))

    def trained(self, which: Which = "best") -> Job:
        """The job as far as predictions need it: the file of a table may be gone."""
        from shoal.build.checked_job import trained_job

        with self.building():
            return trained_job(untold(self.config), self._columns(which)["encoding"])

    @contextmanager
    def building(self) -> Iterator[None]:
        """Where a configuration from a run directory becomes objects."""
        from shoal.build.importing import importing
        from shoal.build.trust import refuse_impostors

        with quiet_logging(), importing(), from_source(str(self.directory.config)):
            # Each time, before anything of it is called: `open_run` has looked at the names alone.
            refuse_impostors(untold(self.config), self.trusted)
            yield

    @cached_property
    def _stored(self) -> OpenedRun:
        return open_run(self.path, trusted=self.trusted)

    def _columns(self, which: Which) -> Mapping[str, Any]:
        """What the checkpoint says of inputs and predictions; read once while the file is the same."""
        from shoal.record.checkpoints.checkpoint_file import EXTRA

        path = self._checkpoint_path(which)
        file = path.stat()
        stamp = path, file.st_mtime_ns, file.st_size
        if stamp not in self._known:
            self._known[stamp] = self._checkpoint(which)[EXTRA]["columns"]
        return self._known[stamp]

    def _checkpoint(self, which: Which) -> dict[str, Any]:
        from shoal.record.checkpoints.checkpoint_file import load

        return load(self._checkpoint_path(which))

    def _checkpoint_path(self, which: Which) -> Path:
        # A run that monitored nothing has a last state only, which then stands for the best.
        path = self.directory.best if which == "best" and self.directory.best.exists() else self.directory.last
        if not path.exists():
            raise UsageError(f"{self.path} has no checkpoint: it stopped before it saved one")
        return path


def check_columns(features: Sequence[str]) -> None:
    """Refuse inputs in columns for a module that takes something else.

    Raises:
        UsageError: with the way to give it that.
    """
    if not features:
        problem = "the model takes no columns, but tensors as its batches hold them"
        raise UsageError(problem, hint="in Python: shoal.load(RUN).module() takes them")


def named(x: Any, features: Sequence[str]) -> dict[str, list[Any]]:
    """Inputs as named columns.

    Raises:
        UsageError: where the model takes none, or an array has not as many columns as it has inputs.
    """
    check_columns(features)
    # A data frame of pandas or polars, told by what it has: so pandas need not be imported.
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
