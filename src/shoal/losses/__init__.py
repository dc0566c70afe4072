"""Losses: what a model's outputs are compared with the targets by. Each is a callable (prediction, target) -> scalar."""

from shoal.losses.named import CrossEntropy, Huber, Loss, MeanAbsoluteError, MeanSquaredError

__all__ = ["CrossEntropy", "Huber", "Loss", "MeanAbsoluteError", "MeanSquaredError"]
