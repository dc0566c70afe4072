"""What an optimizer that sees the residuals of all samples needs of the other groups."""

from __future__ import annotations

from dataclasses import replace

from shoal.engines.job import Job
from shoal.errors import ConfigError
from shoal.losses import Binomial, Likelihood, Loss, title
from shoal.models import Formula
from shoal.optimizers import LevenbergMarquardt, Optimizer
from shoal.schedulers import Constant
from shoal.tasks import Task

_WHOLE = {"gradient_clip_val": None, "accumulate_grad_batches": 1, "limit_train_batches": None, "overfit_batches": 0.0}
"""Arguments of the Trainer that only mean something for steps of a part of the samples, or along the gradient."""


def whole(task: Task, optimizer: Optimizer) -> Task:
    """The task with all samples in a step, for an optimizer that wants them, unless it says otherwise."""
    return replace(task, batch_size=None) if _wants_all(optimizer) and task.batch_size == "auto" else task


def check_solving(job: Job) -> None:
    """Refuse targets that a likelihood has no place for, and what an optimizer of least squares cannot follow.

    Raises:
        ConfigError: with the way out.
    """
    if isinstance(job.loss, Likelihood) and job.in_memory:
        _check_targets(job, job.loss)
    if not _wants_all(job.optimizer):
        return
    if job.in_memory and len(job.batches()[0]) > 1:
        problem = f"optimizer=lm takes its steps of all {len(job.data.train)} training samples"
        raise ConfigError("task.batch_size", job.task.batch_size, problem, hint="task.batch_size=null")
    for key, usual in _WHOLE.items():
        if job.trainer.get(key, usual) not in (usual, None, 0):
            problem = "has no meaning for optimizer=lm"
            raise ConfigError(f"trainer.{key}", job.trainer[key], problem, hint=f"trainer.{key}={_shown(usual)}")
    _check_least_squares(job)


def _check_targets(job: Job, loss: Likelihood) -> None:
    low, high = loss.targets
    y = job.data.train.y
    outside = y[(y < low) | (y > high)]
    if len(outside):
        problem = f"is for targets from {low:g} to {high:g}, and one is {outside[0].item():g}"
        # Counts that were standardised are none any more.
        scaled = job.data.encoding.get("scale", 1.0) != 1
        hint = "task.standardize=false leaves the table as it is" if scaled else loss.instead
        raise ConfigError("loss", title(loss, None, classes=False), problem, hint=hint)
    between = y[(y > low) & (y < high)]
    if isinstance(loss, Binomial) and isinstance(job.model, Formula) and job.data.train.weight is None and len(between):
        problem = f"of how many trials {between[0].item():.4g} is the share is not known"
        hint = "task.weight=COLUMN with the numbers of trials; of single trials targets are 0 or 1"
        raise ConfigError("loss", title(loss, None, classes=False), problem, hint=hint)


def _check_least_squares(job: Job) -> None:
    if not isinstance(job.model, Formula):
        raise ConfigError("optimizer", "lm", "is for model=formula", hint="optimizer=lbfgs or adam for other models")
    if not job.double:
        problem = "is too coarse for optimizer=lm"
        raise ConfigError("trainer.precision", job.trainer["precision"], problem, hint="trainer.precision=64-true")
    if not isinstance(job.loss, Loss) or type(job.loss).squares is Loss.squares:
        problem = "is no loss of least squares, which optimizer=lm minimises"
        name = title(job.loss, job.config.get("loss"), classes=False)
        raise ConfigError("loss", name, problem, hint="loss=mse, huber, soft_l1, cauchy, poisson or binomial")
    if not isinstance(job.scheduler, Constant):
        raise ConfigError(
            "scheduler", type(job.scheduler).__name__, "has no effect on optimizer=lm", hint="scheduler=none"
        )


def _wants_all(optimizer: Optimizer) -> bool:
    return isinstance(optimizer, LevenbergMarquardt)


def _shown(value: object) -> str:
    return "null" if value is None else str(value)
