"""Losses: what a model's outputs are compared with the targets by. Each is called (prediction, target) -> scalar."""

from shoal.losses.named import (
    Auto,
    Cauchy,
    CrossEntropy,
    Huber,
    Loss,
    LossFunction,
    MeanAbsoluteError,
    MeanSquaredError,
    Own,
    SoftL1,
    SquaredLoss,
    title,
)

__all__ = [
    "Auto",
    "Cauchy",
    "CrossEntropy",
    "Huber",
    "Loss",
    "LossFunction",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Own",
    "SoftL1",
    "SquaredLoss",
    "title",
]
