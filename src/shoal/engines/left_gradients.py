"""Gradients that are there between two batches, where a module optimizes by hand: it may add the next ones to them."""

from __future__ import annotations

from collections.abc import Mapping

import pytorch_lightning as pl
from torch import Tensor

KEY = "gradients"
"""Under which a checkpoint has them, by the names of the parameters."""


def left(module: pl.LightningModule) -> dict[str, Tensor]:
    """Those of a module; none where Lightning clears them before each step."""
    named = () if module.automatic_optimization else module.named_parameters()
    return {name: param.grad for name, param in named if param.grad is not None}


def put_back(module: pl.LightningModule, gradients: Mapping[str, Tensor]) -> None:
    """Let a module have these gradients."""
    for name, param in module.named_parameters():
        if name in gradients:
            param.grad = gradients[name].to(param, copy=True)
