"""Trains a few runs and computes a few functions with numerics=portable; prints what came of it as one JSON object."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import shoal
from shoal.instructions import choose
from shoal.startup import cheap_imports

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pictures import PIXEL

RUNS = {
    "one": ["engine=lightning", "optimizer=sgd", "model.activation=gelu"],
    "a stack": ["engine=vectorized", "optimizer=rmsprop", "model.activation=tanh", "model.hidden=[7,33]"],
}
SHORT = ["numerics=portable", "task.n_samples=200", "trainer.max_epochs=3", "callbacks=quiet"]


def main() -> None:
    """Train, compute, and report."""
    warnings.simplefilter("error")
    choose("portable")
    draw_nothing()
    runs = {name: shoal.train([*SHORT, *words]) for name, words in RUNS.items()}
    weights = {name: digest(*run.model("last").state_dict().values()) for name, run in runs.items()}
    print(json.dumps({"digests": {**weights, **computed()}, "checks": checked(), "run": recorded(runs["one"].info)}))


def draw_nothing() -> None:
    """Leave out the figures, which take longer than the runs."""
    with cheap_imports():
        from shoal.record.figures import run_figure

    run_figure.fit_chart, run_figure.drawn = (lambda *_, **__: None), (lambda _: PIXEL)  # type: ignore[assignment]


def recorded(info: Any) -> dict[str, Any]:
    """What run.json has of a run."""
    return {"numerics": info.numerics, **info.instructions}


def computed() -> dict[str, str]:
    """Digests of functions and of their gradients, at many places."""
    import torch

    place = torch.arange(1, 20_001, dtype=torch.float64) / 20_011
    functions: dict[str, Callable[[Any], Any]] = {
        name: getattr(torch, name) for name in ("sqrt", "log", "log2", "log10", "logit", "atan", "asin", "acos", "tan")
    }
    functions |= {name: getattr(torch, name) for name in ("exp", "sin", "cos", "tanh", "erf", "sigmoid", "log1p")}
    functions |= {"power": lambda x: x**0.5, "layer norm": lambda x: torch.nn.functional.layer_norm(x, x.shape)}
    functions |= {"product": lambda x: x[:19_008].reshape(-1, 32, 33).mT @ x[:32, None]}
    found = {}
    for name, function in functions.items():
        for dtype in (torch.float32, torch.float64):
            x = place.to(dtype).requires_grad_()
            y = function(x)
            (slope,) = torch.autograd.grad(y.sum(), x)
            found[f"{name}, {dtype}"] = digest(y, slope)
    matrix = torch.arange(81.0).reshape(9, 9).sin()
    return {**found, "cholesky": digest(torch.linalg.cholesky(matrix @ matrix.T + 9 * torch.eye(9)))}


def digest(*tensors: Any) -> str:
    """Of the bits of these tensors."""
    return hashlib.sha256(b"".join(tensor.detach().numpy().tobytes() for tensor in tensors)).hexdigest()[:16]


def checked() -> dict[str, bool]:
    """Whether the kernels that stand in the place of torch's can do what those can."""
    import numpy
    import torch

    x = torch.rand(5, 7, dtype=torch.float64)
    roots = torch.from_numpy(numpy.sqrt(x.numpy()))
    z = torch.complex(x, x)
    mapped = torch.func.vmap(torch.func.grad(lambda a: a.sqrt() + a.log()))(x[0])
    return {
        "rounded as IEEE 754 says": torch.equal(x.sqrt(), roots) and torch.equal(x**0.5, roots),
        "in place": torch.equal(x.clone().sqrt_(), roots),
        "into a tensor of another shape": torch.equal(torch.sqrt(x, out=torch.empty(0, dtype=x.dtype)), roots),
        "into a tensor of another type": torch.equal(torch.sqrt(x, out=torch.empty(5, 7)), roots.float()),
        "strides kept": x.t().sqrt().stride() == x.t().stride(),
        "integers": torch.equal(torch.arange(4).sqrt(), torch.arange(4.0).sqrt()),
        "other powers": torch.equal(x**2, x * x) and torch.equal(torch.arange(3) ** 2, torch.tensor([0, 1, 4])),
        "complex numbers": torch.allclose(z.sqrt() * z.sqrt(), z),
        "half precision": torch.equal(x.bfloat16().sqrt(), x.bfloat16().float().sqrt().bfloat16()),
        "mapped and differentiated": torch.allclose(mapped, 0.5 / x[0].sqrt() + 1 / x[0]),
        "optimizers": torch.equal(torch._foreach_sqrt([x])[0], roots),
        "without oneDNN": not torch._C._get_mkldnn_enabled(),
        "its own process": os.environ["MKL_CBWR"] == "COMPATIBLE" and "torch" in sys.modules,
    }


if __name__ == "__main__":
    main()
