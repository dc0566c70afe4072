"""The formats: each writes a file, and says how what is in it predicts."""

from __future__ import annotations

import io
import json
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from shoal.engines.stack.stack import own_names, state_dict_of
from shoal.errors import UsageError, brief
from shoal.loaded.export.sample_rows import Feed, coded
from shoal.loaded.export.whole import Signature

Format = Literal["onnx", "pt2", "safetensors"]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "pt2": ".pt2", "safetensors": ".safetensors"}
Predicts = Callable[[Feed], list[Tensor]]
"""From what a graph is given to its outputs, in their order; of a class the code."""
METADATA = "shoal.json"
"""The file within a .pt2 that says what it takes."""


@contextmanager
def tracing() -> Iterator[None]:
    """Where torch makes a graph of a network: what it prints of its own way there is for its developers.

    Raises:
        UsageError: where no graph can be made.
    """
    # Of all loggers at once: torch's exporter has many, and puts handlers onto some.
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # about the exporter itself, and packages that it does not need here
            yield
    except Exception as error:  # whatever it is, it comes of the network's own code
        depends = "data-dependent" in str(error)
        why = "what it computes depends on the values that it is given" if depends else brief(error)
        raise UsageError(
            f"the network cannot be written as a graph: {why}", hint="--format safetensors writes its weights"
        ) from error
    finally:
        logging.disable(before)


def program(whole: nn.Module, given: Feed, takes: Signature) -> torch.export.ExportedProgram:
    """The graph for any number of rows, as torch exports it.

    Raises:
        UsageError: where the network's way depends on the values that it is given.
    """
    # The one dimension that may be any: everything else is as it was trained.
    rows = torch.export.Dim("rows")
    example = {name: torch.from_numpy(values) for name, values in coded(given, takes).items()}
    x: Any = example[takes.matrix] if takes.matrix else example
    shapes = {0: rows} if takes.matrix else {name: {0: rows} for name in example}
    with tracing():
        return torch.export.export(whole, (x,), dynamic_shapes=(shapes,))


def write_pt2(whole: nn.Module, given: Feed, takes: Signature, about: Mapping[str, str], path: Path) -> Predicts:
    """Write torch's graph with its weights, and its description beside them."""
    torch.export.save(program(whole, given, takes), path, extra_files={METADATA: json.dumps(dict(about), indent=2)})
    # What is compared with the run is what a reader of the file gets.
    loaded = torch.export.load(path).module()

    def predicts(rows: Feed) -> list[Tensor]:
        tensors = {name: torch.from_numpy(values) for name, values in coded(rows, takes).items()}
        with torch.no_grad():
            return list(loaded(tensors[takes.matrix] if takes.matrix else tensors).values())

    return predicts


def write_safetensors(network: nn.Module, about: Mapping[str, str], path: Path) -> Callable[[nn.Module], nn.Module]:
    """Write the weights alone; what is returned puts them into a network that was built anew."""
    from safetensors.torch import load_file, save_file

    # safetensors refuses two names for one tensor: of tied weights one is written, and the metadata tell the other.
    names, weights = own_names(network), network.state_dict()
    # safetensors refuses what is a view with gaps.
    tensors = {name: weights[name].contiguous() for name, own in names.items() if name == own}
    shared = {name: own for name, own in names.items() if name != own}  # as `safetensors.torch.save_model` tells it
    save_file(tensors, path, metadata={**about, **shared})

    def filled(fresh: nn.Module) -> nn.Module:
        fresh.load_state_dict(state_dict_of(fresh, load_file(path)))
        return fresh

    return filled


def plain(value: Any) -> Any:
    """The value as JSON has it, which knows no infinity: null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value
