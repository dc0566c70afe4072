"""Tasks: what there is to learn. A task gives data, and says how predictions are read."""

from shoal.tasks.batches import Batches
from shoal.tasks.curve import Curve
from shoal.tasks.data import Data, Split
from shoal.tasks.function import Function
from shoal.tasks.lightning_task import LightningTask, Network, trained_by
from shoal.tasks.linear_regression import LinearRegression
from shoal.tasks.minimized import MinimizeQuadratic, SolveSinX2
from shoal.tasks.parabola import Parabola
from shoal.tasks.samples import Samples
from shoal.tasks.sin_x2 import SinX2
from shoal.tasks.supervised import Supervised
from shoal.tasks.task import Task
from shoal.tasks.validated import Validated

__all__ = [
    "Batches",
    "Curve",
    "Data",
    "Function",
    "LightningTask",
    "LinearRegression",
    "MinimizeQuadratic",
    "Network",
    "Parabola",
    "Samples",
    "SinX2",
    "SolveSinX2",
    "Split",
    "Supervised",
    "Task",
    "Validated",
    "trained_by",
]
