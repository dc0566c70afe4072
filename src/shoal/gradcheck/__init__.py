"""Derivatives, checked: autograd's against the analytic ones and against finite differences, in float64."""

from shoal.gradcheck.accumulation import Accumulated, accumulate
from shoal.gradcheck.activations import ActivationCurve, activation_curves
from shoal.gradcheck.derivatives import DerivativeCheck, check
from shoal.gradcheck.loss import LossCheck, check_loss
from shoal.gradcheck.three_ways import Derivative

__all__ = [
    "Accumulated",
    "ActivationCurve",
    "Derivative",
    "DerivativeCheck",
    "LossCheck",
    "accumulate",
    "activation_curves",
    "check",
    "check_loss",
]
