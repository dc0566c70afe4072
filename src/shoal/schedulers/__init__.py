"""Schedulers: how the learning rate changes while a run trains."""

from shoal.schedulers.closed_form import Constant, Cosine, Exponential, OneCycle, Step, WarmUp
from shoal.schedulers.of_optimizer import scheduled
from shoal.schedulers.plateau import Plateau
from shoal.schedulers.scheduler import Horizon, Schedule, Scheduler
from shoal.schedulers.torch_scheduler import TorchScheduler

__all__ = [
    "Constant",
    "Cosine",
    "Exponential",
    "Horizon",
    "OneCycle",
    "Plateau",
    "Schedule",
    "Scheduler",
    "Step",
    "TorchScheduler",
    "WarmUp",
    "scheduled",
]
