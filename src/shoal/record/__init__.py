"""What a training leaves behind: checkpoints, events, metrics, figures, run.json."""

from shoal.engines.early_stopping import EarlyStopping
from shoal.record.callbacks import GradientNorm, LearningRate
from shoal.record.checkpoints.checkpoint import Checkpoint
from shoal.record.loggers.tensorboard import TensorBoard
from shoal.record.progress import Progress
from shoal.record.watched_metrics import Watched

__all__ = ["Checkpoint", "EarlyStopping", "GradientNorm", "LearningRate", "Progress", "TensorBoard", "Watched"]
