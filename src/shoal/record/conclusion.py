"""What is measured once, when a training has come to its end: of the best state, where one was saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from shoal.record.derivative import derivative_rmse
from shoal.tasks import Data, Supervised


@dataclass(frozen=True)
class Concluded:
    """Metrics beside those of the history, and how the model compares with baselines."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    assessment: dict[str, Any] | None = None


def concluded(module: Supervised, data: Data) -> Concluded:
    """Measure a trained model."""
    samples = data.val or data.train
    assessment = module.task.assess(predicted(module, samples.x.cpu())) if data.encoding else None
    return Concluded(derivative_rmse(module, data), assessment.plain() if assessment else None)


def n_parameters(module: nn.Module) -> tuple[int, int]:
    """How many parameters a module has, and how many of them it trains."""
    parameters = list(module.parameters())
    return sum(each.numel() for each in parameters), sum(each.numel() for each in parameters if each.requires_grad)


def predicted(module: Supervised, x: Tensor) -> Tensor:
    """The model's outputs, in evaluation and without a graph."""
    training = module.training
    module.eval()
    with torch.no_grad():
        parameter = next(module.model.parameters())
        outputs: Tensor = module.model(x.to(parameter))
        outputs = outputs.to("cpu", torch.promote_types(outputs.dtype, torch.float32))
    module.train(training)
    return outputs
