"""The graph of a module whose samples are no rows of numbers: from what its `forward` takes to what that returns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shoal.errors import UsageError, first_line
from shoal.loaded.ensemble import Ensemble
from shoal.loaded.export.about import origin
from shoal.loaded.export.averaged_graphs import AveragedGraphs
from shoal.loaded.export.differing import apart
from shoal.loaded.export.sample_rows import N_ROWS, Feed
from shoal.loaded.export.whole import Field, Signature, free
from shoal.loaded.run import Run
from shoal.loaded.trained_run import Which
from shoal.tasks import Data
from shoal.tasks.forward_input import ForwardInput, of_example

_TURN = 0.6180339887498949
"""The golden section: its multiples are spread evenly over the turn of a circle, and do not repeat."""


class Shaped(nn.Module):
    """A module, called with what its `forward` takes by name."""

    def __init__(self, module: pl.LightningModule, takes: Signature) -> None:
        super().__init__()
        self.module = module
        self.takes = takes
        self.outputs = takes.outputs
        self.arguments = tuple(field.column for field in takes.fields)

    def forward(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What it returns, by the names of the outputs."""
        found = _returned(self.module(**{name: given[name] for name in self.arguments}))
        return dict(zip(self.outputs, found.values(), strict=True))


def given(by: Run | Ensemble, which: Which, data: Data) -> tuple[ForwardInput, ...]:
    """What the modules take, by their `example_input_array`, or else by a batch of their training.

    Raises:
        UsageError: where samples of one run have another shape than those of another.
    """
    # Rows of numbers have a graph of their own, with encoder and decoder.
    if data.features:
        return ()
    found = [of_example(run.module(which)) or run.columns(which).shaped for run in by.members]
    if len({tuple((each.name, each.shape, each.dtype) for each in taken) for taken in found}) > 1:
        raise UsageError("the runs take samples of different shapes: they make no one graph")
    return found[0]


class ShapedGraph:
    """A graph to write, what to try it with, and what the runs themselves return for that."""

    def __init__(self, by: Run | Ensemble, which: Which, given: Sequence[ForwardInput]) -> None:
        self.given = given
        self.modules = [run.module(which) for run in by.members]
        self.dtype = next((each.dtype for each in self.modules[0].parameters()), torch.float32)
        # Two samples: with one a dimension of rows could not be told from a fixed one.
        self.found = _tried(self.modules[0], self._tensors(2))
        if not isinstance(by, Run):
            _check_means(self.found)
        self.takes = self._signature()
        wholes = [Shaped(module, self.takes) for module in self.modules]
        self.whole = wholes[0] if isinstance(by, Run) else AveragedGraphs(wholes, self.takes)
        self.about = {**origin(by, which), "shoal.task": by.members[0].info.task, **self._described()}

    def feed(self, n_rows: int = N_ROWS) -> Feed:
        """Samples all over what a batch of the training held."""
        return {each.name: _samples(each, n_rows, self.dtype) for each in self.given}

    def apart(self, outputs: Sequence[Tensor], n_rows: int) -> float:
        """The largest difference of a graph's outputs from what the runs return."""
        returned = [_returned(module(**self._tensors(n_rows))) for module in self.modules]
        together = [torch.stack([each[name].double() for each in returned]).mean(dim=0) for name in returned[0]]
        return max(apart(found.double(), expected) for found, expected in zip(outputs, together, strict=True))

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever uses the graph must know."""
        inputs = ", ".join(f"{each.name}: {_dtype(each, self.dtype)} {_shape(each.shape)}" for each in self.given)
        outputs = ", ".join(
            f"{name} {_shape(tuple(each.shape[1:]))}"
            for name, each in zip(self.takes.outputs, self.found.values(), strict=True)
        )
        prepared = "as a batch of its loader holds them; what its loader does to samples is not in the graph"
        return (f"takes {inputs}, {prepared}.", f"gives {outputs}, what its forward returns.")

    def _signature(self) -> Signature:
        names = [each.name for each in self.given]
        outputs = tuple(free(name, names) for name in self.found)
        return Signature(tuple(Field(name, name, "tensor") for name in names), None, self.dtype, outputs)

    def _tensors(self, n_rows: int) -> dict[str, Tensor]:
        return {name: torch.from_numpy(values) for name, values in self.feed(n_rows).items()}

    def _described(self) -> dict[str, str]:
        inputs = [
            {"name": each.name, "kind": "tensor", "dtype": _dtype(each, self.dtype), "shape": ["rows", *each.shape]}
            for each in self.given
        ]
        outputs = [
            {"name": name, "kind": "tensor", "shape": ["rows", *each.shape[1:]]}
            for name, each in zip(self.takes.outputs, self.found.values(), strict=True)
        ]
        note = " ".join(self.notes)
        return {"shoal.inputs": json.dumps(inputs), "shoal.outputs": json.dumps(outputs), "shoal.note": note}


def _tried(module: pl.LightningModule, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a module returns.

    Raises:
        UsageError: where its `forward` does not take what a batch holds, or returns no tensors with a row a sample.
    """
    name = type(module).__name__
    try:
        found = _returned(module(**tensors))
    except Exception as error:  # whatever it is, it comes of the user's own code
        problem = f"the forward of {name} does not take what its batches hold: {first_line(error)}"
        raise UsageError(problem, hint="example_input_array in the module says what it takes") from error
    n = len(next(iter(tensors.values())))
    if not found or any(each.dim() == 0 or len(each) != n for each in found.values()):
        problem = f"the forward of {name} returns no tensors with a row for each sample"
        raise UsageError(problem, hint="--format safetensors writes its weights")
    return found


def _check_means(found: Mapping[str, Tensor]) -> None:
    """Refuse what several runs have no mean of.

    Raises:
        UsageError: with the first such output.
    """
    for name, each in found.items():
        if not each.is_floating_point():
            dtype = str(each.dtype).removeprefix("torch.")
            problem = f"the forward returns {name} as {dtype}, of which several runs have no mean"
            raise UsageError(problem, hint="export one of the runs")


def _returned(value: Any) -> dict[str, Tensor]:
    """The tensors that a `forward` returns, by name; none where it returns something else too."""
    if isinstance(value, Tensor):
        return {"y": value}
    named = value if isinstance(value, Mapping) else {}
    if isinstance(value, list | tuple):
        named = {f"y{i}": each for i, each in enumerate(value, start=1)}
    return {str(k): each for k, each in named.items()} if all(isinstance(v, Tensor) for v in named.values()) else {}


def _samples(given: ForwardInput, n_rows: int, dtype: torch.dtype) -> NDArray[Any]:
    shape = (n_rows, *given.shape)
    turns = (numpy.arange(numpy.prod(shape, dtype=int)) * _TURN % 1).reshape(shape)
    kind = _dtype(given, dtype)
    if kind.startswith("float"):
        return (given.low + (given.high - given.low) * turns).astype(kind)
    # Both ends as often as each number between.
    whole = numpy.floor(given.low + (given.high - given.low + 1) * turns).clip(max=given.high)
    return whole.astype(kind)


def _dtype(given: ForwardInput, of_network: torch.dtype) -> str:
    """The type of an input: numbers with a point are those of the network."""
    floats = given.dtype.startswith(("float", "bfloat"))
    return str(of_network).removeprefix("torch.") if floats else given.dtype


def _shape(shape: Sequence[int]) -> str:
    return f"({', '.join(map(str, ('rows', *shape)))})"
