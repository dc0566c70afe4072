"""ONNX: the graph as onnxruntime runs it, with texts for categories and classes."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shoal.errors import ShoalError, UsageError
from shoal.loaded.export import onnx_run
from shoal.loaded.export.formats import Predicts, program, tracing
from shoal.loaded.export.sample_rows import Feed
from shoal.loaded.export.whole import Signature
from shoal.tasks.tables.encoding_graph import UNKNOWN

if TYPE_CHECKING:
    import onnx

_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_INSIDE = "shoal/"
"""Before the names within the graph, so that none is that of a column; with `_` before it where a column has it."""
_ML = ("ai.onnx.ml", 3)
"""The operators for texts, and their version."""
_CODES = re.compile(r"^[\w.]+: (?:\[ONNXRuntimeError\] : \d+ : \w+ : )?")
"""What stands before the reason that onnxruntime gives."""


def write(whole: nn.Module, given: Feed, takes: Signature, about: Mapping[str, str], path: Path) -> Predicts:
    """Write the graph; what it predicts is computed by onnxruntime in a process of its own.

    Raises:
        UsageError: where a package is missing.
        ShoalError: where onnxruntime cannot run it.
    """
    # Before anything is traced, which takes seconds.
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(f"exporting to ONNX needs {missing[0]}", hint="pip install 'shoal[export]'")
    import onnx

    found = _named(_exported(whole, given, takes), takes)
    onnx.helper.set_model_props(found, dict(about))
    # After the names were changed by hand.
    onnx.checker.check_model(found)
    path.write_bytes(found.SerializeToString())
    return lambda rows: _predicted(path, rows, takes)


def _exported(whole: nn.Module, given: Feed, takes: Signature) -> onnx.ModelProto:
    """The graph with numbers for everything, in the order of the signature."""
    traced = program(whole, given, takes)
    with tracing():
        # The older exporter, which `dynamo=True` is not, takes no exported program.
        made = torch.onnx.export(traced, dynamo=True, verbose=False)
    assert made is not None
    found: onnx.ModelProto = made.model_proto
    return found


def _named(model: onnx.ModelProto, takes: Signature) -> onnx.ModelProto:
    """The graph with the columns' names outside, and with texts in the place of codes."""
    import onnx

    names = (*takes.inputs, *takes.outputs)
    prefix = _INSIDE
    while any(name.startswith(prefix) for name in names):
        prefix = f"_{prefix}"
    model = onnx.compose.add_prefix(model, prefix)
    graph, codes = model.graph, {field.name: field.codes for field in takes.fields}
    inside = [(value.name, value) for value in (*graph.input, *graph.output)]
    for (_, value), name in zip(inside, names, strict=True):
        value.name = name
        _call_rows(value)
    n = len(takes.inputs)
    before = [_into(name, outer, codes.get(outer)) for (name, _), outer in zip(inside[:n], takes.inputs, strict=True)]
    after = [_out_of(name, outer, takes) for (name, _), outer in zip(inside[n:], takes.outputs, strict=True)]
    nodes = [*before, *graph.node, *after]
    # In place, since protobuf lets no list be put where one is.
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]  # what they say of shapes within is found again by whoever asks
    for value in _texts(graph, takes):
        value.type.tensor_type.elem_type = onnx.TensorProto.STRING
    model.opset_import.append(onnx.helper.make_opsetid(*_ML))
    return model


def _into(inner: str, outer: str, codes: Mapping[str, int] | None) -> onnx.NodeProto:
    from onnx.helper import make_node

    if codes is None:
        # A node of no effect, so that the name outside may be any column's.
        return make_node("Identity", [outer], [inner])
    return make_node(
        "LabelEncoder",
        [outer],
        [inner],
        domain=_ML[0],
        keys_strings=list(codes),
        values_int64s=list(codes.values()),
        default_int64=UNKNOWN,
    )


def _out_of(inner: str, outer: str, takes: Signature) -> onnx.NodeProto:
    from onnx.helper import make_node

    if not takes.classes or outer != takes.outputs[0]:
        return make_node("Identity", [inner], [outer])
    return make_node(
        "LabelEncoder",
        [inner],
        [outer],
        domain=_ML[0],
        keys_int64s=list(range(len(takes.classes))),
        values_strings=list(takes.classes),
        # No class: of a row that is refused, as its probabilities are nan.
        default_string="",
    )


def _texts(graph: onnx.GraphProto, takes: Signature) -> Iterator[Any]:
    """The inputs and outputs that are texts."""
    coded = {field.name for field in takes.fields if field.codes is not None and not takes.matrix}
    yield from (value for value in graph.input if value.name in coded)
    if takes.classes:
        yield graph.output[0]


def _call_rows(value: onnx.ValueInfoProto) -> None:
    """Name the dimension that is not fixed."""
    for size in value.type.tensor_type.shape.dim:
        # The exporter makes up names, another one in each graph.
        if size.dim_param:
            size.dim_param = "rows"


def _predicted(path: Path, rows: Feed, takes: Signature) -> list[Tensor]:
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder, "given.npz"), Path(folder, "found.npz")
        onnx_run.write(given, rows)
        # Without torch and shoal, as the file will be used.
        command = [sys.executable, onnx_run.__file__, str(path), str(given), str(found)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["it ended without a word"]
            raise ShoalError(f"onnxruntime cannot run the graph: {_CODES.sub('', said[-1])[:300]}", hint="--format pt2")
        values = onnx_run.read(found)
    return [_tensor(values[name], takes) for name in takes.outputs]


def _tensor(values: NDArray[Any], takes: Signature) -> Tensor:
    """The output; classes by their codes."""
    if values.dtype.kind != "U":
        return torch.from_numpy(values)
    codes = {name: code for code, name in enumerate(takes.classes)}
    return torch.tensor([codes.get(name, UNKNOWN) for name in values.tolist()])
