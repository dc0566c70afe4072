"""Losses: what a model's outputs are compared with the targets by. Each is called (prediction, target) -> scalar."""

from shoal.losses.likelihood import Binomial, Likelihood, Poisson
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
)
from shoal.losses.title import title

__all__ = [
    "Auto",
    "Binomial",
    "Cauchy",
    "CrossEntropy",
    "Huber",
    "Likelihood",
    "Loss",
    "LossFunction",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Own",
    "Poisson",
    "SoftL1",
    "SquaredLoss",
    "title",
]
