"""Whether task, model and loss fit each other, tried on two samples: what does not would train on something else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from shoal.build.hydra_keys import TARGET
from shoal.engines.job import Job
from shoal.errors import ConfigError, brief, raised_at
from shoal.models import TorchModel
from shoal.seeding import Stream, global_generator
from shoal.tasks import Split

N_TRIED = 2


def check_fit(job: Job) -> None:
    """Refuse samples that are not finite or have another shape than the task says, and a model or a loss to match.

    Where all three are shoal's own there is nothing to try.

    Raises:
        ConfigError: for the first of task, model and loss that does not fit the ones before it.
    """
    parts = (job.task, job.model, job.loss)
    # `TorchModel` is shoal's, and the module in it somebody else's.
    if all(type(part).__module__.startswith("shoal.") for part in parts) and not isinstance(job.model, TorchModel):
        return
    data = job.data
    for samples in filter(None, (data.train, data.val)):
        _check_samples(job, samples)
    x, y = data.train.x[:N_TRIED], data.train.y[:N_TRIED]
    outputs = _outputs(job, x)
    wanted = (len(x), job.task.outputs)
    if tuple(outputs.shape) != wanted:
        raise _wrong(job, "model", f"gives outputs of the shape {_shape(outputs)}, the task wants {_shape(wanted)}")
    try:
        loss: Any = job.loss(job.task.observe(outputs), y)
    except Exception as error:
        raise _wrong(job, "loss", _raised("fails on two samples", error)) from error
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        given = f"a tensor of the shape {_shape(loss)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise _wrong(job, "loss", f"must give one number for a batch; it gives {given}")


def _check_samples(job: Job, samples: Split) -> None:
    x, y = samples.x, samples.y
    if x.dim() != 2 or x.shape[1] != job.task.inputs:
        wanted = (len(x), job.task.inputs)
        raise _wrong(job, "task", f"gives inputs of the shape {_shape(x)}; they must be {_shape(wanted)}")
    if len(y) != len(x):
        raise _wrong(job, "task", f"gives {len(x)} inputs and {len(y)} targets")
    if y.is_floating_point() and (y.dim() != 2 or y.shape[1] != job.task.outputs):
        wanted = (len(y), job.task.outputs)
        raise _wrong(job, "task", f"gives targets of the shape {_shape(y)}; they must be {_shape(wanted)}")
    for name, values in (("x", x), ("y", y)):
        if not values.isfinite().all():
            row = int((~values.isfinite()).reshape(len(values), -1).any(dim=1).nonzero()[0])
            raise _wrong(job, "task", f"gives {name} that is not finite: {values[row].tolist()} in row {row}")


def _outputs(job: Job, x: Tensor) -> Tensor:
    module = job.module_to_stack()
    with global_generator(job.seed, Stream.USER), torch.no_grad():
        try:
            # In evaluation, in which BatchNorm takes two samples, and dropout draws nothing. Not the loss beside it,
            # which all modules of this job share.
            outputs: Any = job.presented(module).model.eval()(x)
        except Exception as error:
            raise _wrong(job, "model", _raised(f"does not take inputs of the shape {_shape(x)}", error)) from error
    if not isinstance(outputs, Tensor):
        raise _wrong(job, "model", f"must give a tensor; it gives {type(outputs).__name__}")
    return outputs


def _raised(problem: str, error: Exception) -> str:
    return f"{problem}: {brief(error)} ({raised_at(error)})"


def _shape(of: Tensor | tuple[int, ...]) -> str:
    return str(tuple(of.shape) if isinstance(of, Tensor) else of)


def _wrong(job: Job, key: str, problem: str) -> ConfigError:
    return ConfigError(f"{key}.{TARGET}", job.config[key][TARGET], problem)
