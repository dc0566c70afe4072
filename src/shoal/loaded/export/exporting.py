"""Writes a trained model for other programs, and has what was written predict rows that the run predicts too."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import torch
from torch import Tensor

from shoal.errors import ShoalError, UsageError
from shoal.loaded.ensemble import Ensemble
from shoal.loaded.export import onnx_file, shaped
from shoal.loaded.export.about import metadata, origin, told
from shoal.loaded.export.averaged_graphs import AveragedGraphs, alike
from shoal.loaded.export.differing import apart
from shoal.loaded.export.formats import SUFFIXES, Format, Predicts, plain, write_pt2, write_safetensors
from shoal.loaded.export.sample_rows import N_ROWS, feed, rows
from shoal.loaded.export.whole import Whole, signature
from shoal.loaded.run import Run
from shoal.loaded.trained_run import Which
from shoal.rundir import write_bytes
from shoal.rundir.atomic import UnwritableError
from shoal.tasks import Data, LightningTask, Supervised
from shoal.tasks.precision import is_double, new_tensors
from shoal.tasks.tables import format as tables

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-11}
"""Largest difference between the predictions of the run and of what was exported, by the precision of the network,
in multiples of the largest output of the network: of a table in standard deviations of its target."""
_Found = tuple[float, tuple[str, ...]]
"""The difference, and the notes."""


@dataclass(frozen=True)
class Exported:
    """A file that was written, and has been checked."""

    path: Path
    difference: float
    """The largest difference from the run's own predictions, relative to the largest."""
    notes: tuple[str, ...]
    """What whoever uses the file must know."""


def export(
    by: Run | Ensemble, kind: Format, output: Path | None = None, which: Which = "best", *, by_column: bool = False
) -> Exported:
    """Write the model of a run, or of several as one, read it back, and compare what it predicts for raw rows.

    onnx: for any runtime; pt2: `torch.export`. Both hold the graph from the columns of a table to the target in its own
    units, or to the class. safetensors: the weights of one run; what builds the network and encodes rows is metadata.

    Raises:
        UsageError: where a package is missing, or the network has no inputs; where runs read rows in different ways.
        ShoalError: where what was exported predicts something else, or cannot be written; no file is left then.
    """
    path = output or by.path / f"model{SUFFIXES[kind]}"
    # Elsewhere first: only what has passed the comparison comes to lie where it was asked for.
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, f"model{SUFFIXES[kind]}")
        with torch.no_grad():
            found = (
                _weights(by, which, written) if kind == "safetensors" else _graph(by, kind, which, written, by_column)
            )
        try:
            write_bytes(path, written.read_bytes())
        except UnwritableError as error:
            raise ShoalError(error.problem, hint="--output says where it goes") from error
    return Exported(path, *found)


def _graph(
    by: Run | Ensemble, kind: Format, which: Which, path: Path, by_column: bool
) -> tuple[float, tuple[str, ...]]:
    data, format = by.columns(which), by.format(which)
    write: Callable[..., Predicts] = onnx_file.write if kind == "onnx" else write_pt2
    if given := shaped.given(by, which, data):
        with new_tensors(double=is_double(by.members[0].config["trainer"])):
            return _of_tensors(shaped.ShapedGraph(by, which, given), write, path)
    modules = [run.presented(which) for run in by.members]
    wholes = [
        _whole(module, run.columns(which), format, by_column) for module, run in zip(modules, by.members, strict=True)
    ]
    takes = alike([whole.takes for whole in wholes])
    whole = wholes[0] if isinstance(by, Run) else AveragedGraphs(wholes, takes)
    raw = rows(takes)
    predicts = write(whole.eval(), feed(raw, takes), takes, metadata(by, which, takes, data), path)
    expected = _Expected(by, which, modules, data)
    # One row as well: a graph may have taken the number of rows that it was traced with for a constant.
    difference = max(expected.apart(predicts(feed(part, takes)), part) for part in (raw, raw[:1]))
    return _checked(difference, _dtype(modules[0])), (*told(takes), *expected.notes(raw))


def _of_tensors(graph: shaped.ShapedGraph, write: Callable[..., Predicts], path: Path) -> _Found:
    predicts = write(graph.whole.eval(), graph.feed(), graph.takes, graph.about, path)
    difference = max(graph.apart(predicts(graph.feed(n)), n) for n in (N_ROWS, 1))
    return _checked(difference, graph.dtype), graph.notes


def _whole(module: Supervised, data: Data, format: tables.Format, by_column: bool) -> Whole:
    _check_inputs(module)
    return Whole(module.model, data, format, signature(module, data, format, by_column=by_column))


def _weights(by: Run | Ensemble, which: Which, path: Path) -> _Found:
    if not isinstance(by, Run):
        raise UsageError(
            f"{by.path} is several runs: safetensors holds the weights of one", hint="--format onnx or pt2"
        )
    run, module, data = by, by.presented(which), by.columns(which)
    about = {**origin(run, which), "config": json.dumps(run.config), "format": "pt"}
    if data.encoding:
        about["encoding"] = json.dumps(plain(data.encoding), ensure_ascii=False)
    filled = write_safetensors(module.model, about, path)
    fresh = filled(run.trained(which).presented(run.trained(which).module()).model.to(_dtype(module))).eval()
    # Bit for bit, as weights are only copied.
    same = all(value.equal(fresh.state_dict()[name]) for name, value in module.model.state_dict().items())
    scaled = ("its inputs and outputs are as the network has them; `encoding` in its metadata says how.",)
    return _checked(0.0 if same else math.inf, _dtype(module)), (
        "holds the weights alone.",
        *(scaled if data.encoding else ()),
    )


def _check_inputs(module: Supervised) -> None:
    """Refuse a network that rows of numbers do not go into."""
    if module.task.inputs:
        return
    if isinstance(module.task, LightningTask):
        problem = "what the forward of this module takes is neither rows of numbers nor the tensors of a batch"
        raise UsageError(problem, hint="example_input_array in the module says what it takes")
    raise UsageError("this model has no inputs: there is nothing to predict from", hint="shoal show prints its value")


def _checked(difference: float, dtype: torch.dtype) -> float:
    # Not `>`: a difference that is nan is none that is small.
    if not difference <= TOLERANCE.get(dtype, TOLERANCE[torch.float32]):
        raise ShoalError(f"what was exported predicts something else than the run: the difference is {difference:.2g}")
    return difference


def _dtype(module: Supervised) -> torch.dtype:
    return next(module.model.parameters()).dtype


@dataclass(frozen=True)
class _Expected:
    """What the runs themselves predict."""

    by: Run | Ensemble
    which: Which
    modules: Sequence[Supervised]
    data: Data

    def apart(self, outputs: list[Tensor], raw: pl.DataFrame) -> float:
        """The largest difference of a graph's outputs, in multiples of the network's largest output."""
        if "columns" not in self.data.encoding:
            return apart(outputs[0].reshape(len(raw), -1), self._outputs(raw))
        predicted = self.by.predictions(raw, self.which)
        classes = self.data.encoding.get("classes")
        if not classes:
            values = predicted.select(self.data.targets).to_torch().double()
            return apart(self._standard(outputs[0].reshape(values.shape)), self._standard(values))
        expected = predicted.select(f"p_{name}" for name in classes).to_torch()
        labels = torch.tensor([classes.index(name) for name in predicted.to_series()])
        # The two most probable classes of each row.
        first, second = expected.topk(min(2, len(classes)), dim=1).values.T[[0, -1]]
        close = first - second < TOLERANCE[torch.float32]  # either may be the most probable one then
        same = bool(((outputs[0] == labels) | close).all())
        return apart(outputs[1], expected) if same else math.inf

    def notes(self, raw: pl.DataFrame) -> list[str]:
        """What the graph has not: how a task of the user's own reads rows and outputs."""
        if "columns" in self.data.encoding:
            return []
        outputs = self._outputs(raw)
        name = type(self.modules[0].task).__name__
        try:
            predicted = self.by.predictions(raw, self.which)[:, : outputs.shape[1]]
            values = predicted.cast(pl.Float64).to_torch()
            # Tried, as nothing says what a task's own `decode` does.
            plain = values.shape == outputs.shape and apart(values, outputs) < TOLERANCE[torch.float32]
        except (ShoalError, pl.exceptions.PolarsError):
            plain = False
        return [] if plain else [f"it is the network alone: what {name} makes of rows and outputs is not in it."]

    def _outputs(self, raw: pl.DataFrame) -> Tensor:
        """Those of the network, or the mean of those of several."""
        x = raw.cast(pl.Float64).to_torch().to(_dtype(self.modules[0]))
        return torch.stack([module.model(x) for module in self.modules]).mean(dim=0)

    def _standard(self, values: Tensor) -> Tensor:
        encoding = self.data.encoding
        return (values - float(encoding["mean"])) / float(encoding["scale"])
