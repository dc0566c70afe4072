"""A trained model in a form that other programs read, checked to predict the same."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from shoal.errors import ShoalError, UsageError
from shoal.loaded.run import Run, Which

Format = Literal["onnx", "pt2", "safetensors"]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "pt2": ".pt2", "safetensors": ".safetensors"}
TOLERANCE = 1e-5
"""Largest difference, relative to the largest prediction, between the model and what was exported."""


def export(run: Run, kind: Format, output: Path | None = None, which: Which = "best") -> tuple[Path, float]:
    """Write the network of a run and read it back; the file, and the largest difference between the predictions.

    onnx: for any runtime; pt2: `torch.export`, the graph with its weights; safetensors: the weights alone, with the
    configuration that builds the network in the file's metadata.

    Raises:
        UsageError: where a package is missing, or the network has no inputs.
        ShoalError: where what was exported predicts something else.
    """
    module = run.presented(which)
    network, n_inputs = module.model, module.task.inputs
    if n_inputs == 0:
        raise UsageError(
            "this model has no inputs: there is nothing to predict from", hint="shoal show prints its value"
        )
    path = output or run.directory.path / f"model{SUFFIXES[kind]}"
    x = torch.linspace(-1, 1, 7 * n_inputs, dtype=torch.float64).reshape(7, n_inputs).to(next(network.parameters()))
    write: Callable[..., Callable[[Tensor], Tensor]] = {"onnx": _onnx, "pt2": _pt2, "safetensors": _safetensors}[kind]
    again = write(run, network, x, path)
    with torch.no_grad():
        expected = network(x)
    difference = float((again(x) - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
    if not difference <= TOLERANCE:
        raise ShoalError(f"{path} predicts something else than the run: the difference is {difference:.2g}")
    return path, difference


def _onnx(run: Run, network: nn.Module, x: Tensor, path: Path) -> Callable[[Tensor], Tensor]:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  torch.onnx needs it
    except ModuleNotFoundError as error:
        raise UsageError(f"exporting to ONNX needs {error.name}", hint="pip install 'shoal[export]'") from None
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's, about itself and about packages it does not need here
        torch.onnx.export(
            network,
            (x,),
            path,
            dynamo=True,
            verbose=False,
            input_names=["x"],
            output_names=["y"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
        )
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return lambda inputs: torch.from_numpy(session.run(None, {"x": inputs.numpy()})[0])


def _pt2(run: Run, network: nn.Module, x: Tensor, path: Path) -> Callable[[Tensor], Tensor]:
    program = torch.export.export(network, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, path)
    loaded: nn.Module = torch.export.load(path).module()
    return lambda inputs: loaded(inputs).detach()


def _safetensors(run: Run, network: nn.Module, x: Tensor, path: Path) -> Callable[[Tensor], Tensor]:
    from safetensors.torch import load_file, save_file

    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(tensors, path, metadata={"config": json.dumps(run.config), "format": "pt"})
    fresh = run.job.presented(run.job.module()).model.eval().to(next(network.parameters()).dtype)
    fresh.load_state_dict(load_file(path))
    return lambda inputs: fresh(inputs).detach()
