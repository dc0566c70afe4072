"""The simplest models for a table, fitted on its training samples: what a network has to beat."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

_PENALTY = 1e-6
"""Of the squared weights: it decides between weights that fit alike, as those of one-hot columns do."""
_RIDGE = 1e-9
"""The same for least squares, in units of the variance of a feature."""
_ITERATIONS = 100


def mean(y: Float[Tensor, "samples outputs"], n: int) -> Float[Tensor, "n outputs"]:
    """The mean of the targets, for each of `n` samples."""
    return y.mean(dim=0, keepdim=True).expand(n, -1)


def majority(y: Int[Tensor, " samples"], n: int, n_classes: int) -> Float[Tensor, "n classes"]:
    """Logits of the most frequent class, for each of `n` samples."""
    # Logits whose softmax has the classes' shares; -inf for a class that training has no sample of.
    return y.bincount(minlength=n_classes).double().log().expand(n, n_classes)


def least_squares(
    x: Float[Tensor, "samples features"], y: Float[Tensor, "samples outputs"], new: Float[Tensor, "n features"]
) -> Float[Tensor, "n outputs"]:
    """Linear regression of `y` on `x`, at `new`. By the normal equations: the features are standardised."""
    design = _with_one(x)
    # Over n, so that `_RIDGE` is in units of a feature's variance, however many samples there are.
    gram, moment = design.T @ design / len(x), design.T @ y.double() / len(x)
    weights = torch.linalg.solve(gram + _RIDGE * torch.eye(len(gram), dtype=gram.dtype), moment)
    prediction: Tensor = _with_one(new) @ weights
    return prediction


def logistic_regression(
    x: Float[Tensor, "samples features"], y: Int[Tensor, " samples"], new: Float[Tensor, "n features"], n_classes: int
) -> Float[Tensor, "n classes"]:
    """Logits of multinomial logistic regression of `y` on `x`, at `new`; fitted by L-BFGS."""
    design = _with_one(x)
    weights = torch.zeros(design.shape[1], n_classes, dtype=torch.float64, requires_grad=True)
    # One step is the whole fit: up to `max_iter` iterations are within it.
    optimizer = torch.optim.LBFGS([weights], max_iter=_ITERATIONS, line_search_fn="strong_wolfe", tolerance_grad=1e-6)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(design @ weights, y) + _PENALTY * weights.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    # Baselines are asked for where gradients may be off, as in a validation.
    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    return _with_one(new) @ weights.detach()


def _with_one(x: Tensor) -> Tensor:
    return torch.cat([x.double(), torch.ones(len(x), 1, dtype=torch.float64)], dim=1)
