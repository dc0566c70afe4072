"""Which of Lightning's callbacks a run has no use for, and why; all others do in it what they do in Lightning."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec

import pytorch_lightning as pl
from pytorch_lightning import callbacks as lightning

from shoal.build.hydra_keys import TARGET
from shoal.engines.job import Job
from shoal.errors import ConfigError

Refusal = tuple[str, str]
"""What is wrong with a callback, and the way out."""

_BY_KIND: tuple[tuple[type[pl.Callback], Refusal], ...] = (
    (lightning.ProgressBar, ("draws a bar where shoal draws its own line", "see callbacks.progress")),
    (
        lightning.LearningRateFinder,
        ("would train with a rate that no configuration says", "sweep it: -m optimizer.lr=1e-4,1e-3,1e-2"),
    ),
    (
        lightning.BatchSizeFinder,
        ("would train with a batch size that no configuration says", "sweep it: -m task.batch_size=32,64,128"),
    ),
    (
        lightning.BasePredictionWriter,
        ("writes predictions, and a training makes none", "shoal predict RUN --output FILE"),
    ),
)
_ABSTRACT = (pl.Callback, lightning.BaseFinetuning, lightning.Checkpoint)
_BY_STEP = (lightning.DeviceStatsMonitor, lightning.ThroughputMonitor)


def check_callbacks(job: Job) -> None:
    """Refuse callbacks that would have no effect, or another one than the record says.

    Raises:
        ConfigError: for the first of them, with the reason.
    """
    for name, callback in job.callbacks.items():
        for problem, hint in _refusals(job, callback):
            key = f"callbacks.{name}.{TARGET}"
            raise ConfigError(key, job.config["callbacks"][name][TARGET], problem, hint=hint)


def _refusals(job: Job, callback: pl.Callback) -> Iterator[Refusal]:
    # By type itself: what is derived from one does something.
    if type(callback) in _ABSTRACT:
        yield "does nothing by itself: it is there to be derived from", "name a class of yours that is one"
    yield from (said for kind, said in _BY_KIND if isinstance(callback, kind))
    for kind, find in _FINDERS:
        if isinstance(callback, kind):
            yield from find(job)


def _unlogged(job: Job) -> Iterator[Refusal]:
    if job.trainer.get("log_every_n_steps") is None:
        yield "logs values of single steps, of which there are no rows", "for example trainer.log_every_n_steps=10"


def _unmeasured(job: Job) -> Iterator[Refusal]:
    # A GPU is measured without it.
    on_cpu = job.trainer.get("accelerator") in ("cpu", "auto")
    if on_cpu and find_spec("psutil") is None:
        yield "needs psutil to measure a CPU", "pip install psutil"


def _without_backbone(job: Job) -> Iterator[Refusal]:
    if not job.own_module:
        yield "needs a LightningModule with an attribute backbone", "task.module names one, see docs/extending.md"


def _moving_weights(job: Job) -> Iterator[Refusal]:
    # A pruned weight becomes the last parameter of its layer: averages would be of others, or of other shapes.
    for name, each in job.callbacks.items():
        if isinstance(each, lightning.ModelPruning) and {"weight", "bias"} - {*each._parameter_names}:
            problem = f"averages weights in their order, which callbacks.{name} (ModelPruning) changes"
            yield (
                problem,
                f"prune biases too (parameter_names: [weight, bias]), or leave one of them out: ~callbacks.{name}",
            )


_FINDERS: tuple[tuple[type[pl.Callback] | tuple[type[pl.Callback], ...], Callable[[Job], Iterator[Refusal]]], ...] = (
    (_BY_STEP, _unlogged),
    (lightning.DeviceStatsMonitor, _unmeasured),
    (lightning.BackboneFinetuning, _without_backbone),
    ((lightning.WeightAveraging, lightning.StochasticWeightAveraging), _moving_weights),
)
