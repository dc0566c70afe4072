"""Losses: what a model's outputs are compared with the targets by. Each is a callable (prediction, target) -> scalar."""

from shoal.losses.named import Auto, CrossEntropy, Huber, Loss, MeanAbsoluteError, MeanSquaredError

__all__ = ["Auto", "CrossEntropy", "Huber", "Loss", "MeanAbsoluteError", "MeanSquaredError"]
