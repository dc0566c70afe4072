"""What an experiment can show beside a training: derivatives, graphs, saving, devices."""

from shoal.app.checks.check import Check, Measured
from shoal.app.checks.derivatives import Accumulation, Activations, Derivatives
from shoal.app.checks.models import Devices, Graph, LossGradient, Reload

__all__ = [
    "Accumulation",
    "Activations",
    "Check",
    "Derivatives",
    "Devices",
    "Graph",
    "LossGradient",
    "Measured",
    "Reload",
]
