"""Optimizers: settings of an update rule, for one run (`alone`) and for a stack of runs (`stacked`)."""

from shoal.optimizers.adam import Adam, AdamW
from shoal.optimizers.lbfgs import LBFGS
from shoal.optimizers.levenberg_marquardt import LevenbergMarquardt, Solver
from shoal.optimizers.of_module import Own, alike
from shoal.optimizers.optimizer import Optimizer, rate_of
from shoal.optimizers.parts import Part, Parts
from shoal.optimizers.rmsprop import RMSprop
from shoal.optimizers.rule import Rule
from shoal.optimizers.sgd import SGD
from shoal.optimizers.stopping import Stopping, why_stopped
from shoal.optimizers.torch_optimizer import TorchOptimizer

__all__ = [
    "LBFGS",
    "SGD",
    "Adam",
    "AdamW",
    "LevenbergMarquardt",
    "Optimizer",
    "Own",
    "Part",
    "Parts",
    "RMSprop",
    "Rule",
    "Solver",
    "Stopping",
    "TorchOptimizer",
    "alike",
    "rate_of",
    "why_stopped",
]
