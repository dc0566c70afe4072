"""What an experiment can show beside a training: derivatives, graphs, saving, devices."""

from shoal.checks.calculus import Accumulation, Activations, Derivatives
from shoal.checks.check import Check, CheckOfItself, CheckOfJob, Measured, Occasion
from shoal.checks.of_jobs import Devices, Graph, LossGradient, Reload

__all__ = [
    "Accumulation",
    "Activations",
    "Check",
    "CheckOfItself",
    "CheckOfJob",
    "Derivatives",
    "Devices",
    "Graph",
    "LossGradient",
    "Measured",
    "Occasion",
    "Reload",
]
