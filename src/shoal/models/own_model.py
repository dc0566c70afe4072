"""The model of a task that brings a whole LightningModule."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from shoal.errors import ConfigError
from shoal.models.model import Model


@dataclass(frozen=True, kw_only=True)
class Own(Model):
    """None to choose: the LightningModule of `task.module` is the model."""

    def build(self, *, inputs: int, outputs: int, generator: torch.Generator) -> nn.Module:
        raise ConfigError(
            "model", "own", "is for a task with a LightningModule of its own", hint="for example model=mlp"
        )
