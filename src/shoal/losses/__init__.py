"""Losses: what a model's outputs are compared with the targets by. Each is called (prediction, target) -> scalar."""

from shoal.losses.named import (
    Auto,
    CrossEntropy,
    Huber,
    Loss,
    LossFunction,
    MeanAbsoluteError,
    MeanSquaredError,
    Own,
    title,
)

__all__ = [
    "Auto",
    "CrossEntropy",
    "Huber",
    "Loss",
    "LossFunction",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Own",
    "title",
]
