"""Whether the samples of a job fit what is done with them: the loss, their weights, last batch and test part."""

from __future__ import annotations

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from shoal import losses
from shoal.engines.job import Job
from shoal.engines.length import n_batches
from shoal.errors import ConfigError, suggestion
from shoal.tasks import Batches, Validated


def check_samples(job: Job) -> None:
    """Refuse a loss of other targets, unused weights, a last batch that BatchNorm fails on, limits of no test part.

    Raises:
        ConfigError: with the way out.
    """
    _check_loss(job)
    _check_test(job)
    _check_units(job)
    if job.in_memory:
        _check_weights(job)
        _check_normalisation(job, job.batches()[0])


def _check_loss(job: Job) -> None:
    """Refuse a loss of numbers for classes, and one of classes for numbers."""
    if not isinstance(job.loss, losses.Loss) or isinstance(job.loss, losses.Auto | losses.Own):
        return
    classes = not job.data.train.y.is_floating_point()
    if classes != isinstance(job.loss, losses.CrossEntropy):
        name = type(job.loss).__name__
        problem = f"does not fit the targets of this task, which are {'classes' if classes else 'numbers'}"
        fitting = "loss=cross_entropy" if classes else "loss=mse"
        raise ConfigError("loss", name, problem, hint=f"use {fitting}, or loss=auto")


def _check_units(job: Job) -> None:
    """Refuse a unit of what the samples do not have."""
    names = [*job.data.features, *job.data.targets] if job.in_memory and job.task.units else []
    for name, unit in (job.task.units or {}).items():
        if name not in names:
            hint = suggestion(name, names, kind="inputs and targets")
            raise ConfigError(f"task.units.{name}", unit, "is a unit of no input and no target", hint=hint)


def _check_weights(job: Job) -> None:
    if isinstance(job.loss, losses.Auto) and job.loss.weight is not None and job.task.class_counts is None:
        raise ConfigError(
            "loss.weight",
            job.loss.weight,
            "is for classes, and the targets are numbers",
            hint="for a table task.weight names a column with the weight of each row",
        )
    # A weighted mean needs the loss of each sample.
    able = isinstance(job.loss, losses.Loss) and type(job.loss).each is not losses.Loss.each
    if job.data.train.weight is not None and not job.own_module and not able:
        raise ConfigError(
            "task.weight",
            job.config["task"].get("weight") or job.config["task"].get("sigma"),
            "needs a loss that gives the loss of each sample",
            hint="for example loss=auto, or one of yours that is a shoal.losses.Loss with `each`",
        )


def _check_normalisation(job: Job, train: Batches) -> None:
    """Refuse a batch of a single sample where a model normalises over batches: its training would stop there.

    Whether it does is tried: a normalisation over the places of an image takes one sample, too.
    """
    n = len(train)
    rest = len(train.samples) % train.batch_size or train.batch_size
    # A limit on the batches leaves the last one out, too.
    smallest = train.batch_size if train.drop_last or n_batches(job.trainer, n) < n else rest
    if smallest > 1:
        return
    # In training mode alone BatchNorm takes the batch's own moments.
    network = job.presented(job.module()).model.train()
    if not any(isinstance(part, _BatchNorm) for part in network.modules()):
        return
    try:
        with torch.no_grad():
            network(train.samples.x[:1].to(next(network.parameters()).dtype))
    except ValueError as error:
        # torch has no class of errors for this.
        if "more than 1 value" not in str(error):
            raise
        key, value, hint = "task.batch_size", train.batch_size, "set task.batch_size to 2 or more"
        problem = "leaves one sample in the last batch of an epoch, and BatchNorm needs two at least"
        if train.batch_size > 1 and n > 1:
            hint = "task.drop_last=true leaves that batch out; or set another task.batch_size"
        raise ConfigError(key, value, problem, hint=hint) from error


def _check_test(job: Job) -> None:
    limit = job.trainer.get("limit_test_batches")
    if limit is not None and not job.tests:
        raise ConfigError(
            "trainer.limit_test_batches",
            limit,
            "has no effect: there is no test part",
            hint="for example task.test_fraction=0.2, for shoal eval --test",
        )
    if job.trainer.get("limit_predict_batches") is not None:
        raise ConfigError(
            "trainer.limit_predict_batches",
            job.trainer["limit_predict_batches"],
            "has no effect: a prediction is made for every row",
            hint="null",
        )
    if isinstance(job.task, Validated) and job.task.test_fraction and job.data.test is None:
        name = type(job.task).__name__
        raise ConfigError("task.test_fraction", job.task.test_fraction, f"has no effect: {name} keeps no test part")
