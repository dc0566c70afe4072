"""What is measured once, when a training has come to its end: of the best state, where one was saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from shoal.engines.job import Job
from shoal.engines.stack.allocator import keep_memory
from shoal.fits import measured_fit
from shoal.models import FormulaNetwork
from shoal.names import error_name
from shoal.optimizers import LBFGS, LevenbergMarquardt, why_stopped
from shoal.record.checkpoints.checkpoint_file import load
from shoal.record.derivative import derivative_rmse
from shoal.tasks import Data, Split, Supervised

_NOISE = 1e-9
"""Share of the mean's loss below which what the true function leaves is rounding."""


@dataclass(frozen=True)
class Concluded:
    """Metrics beside those of the history, and how the model compares with baselines."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    assessment: dict[str, Any] | None = None
    references: Mapping[str, float] = field(default_factory=dict)
    """Losses: of the model, of one that always says the mean, and of the true function."""
    fit: dict[str, Any] | None = None
    """Of a formula: its parameters with their errors, and what there is to say of them."""


def concluded(module: Supervised, job: Job, last: Path | None, steps: int) -> Concluded:
    """Measure the trained module of a job; `last` is the state that its training ended with, after so many steps.

    Of a run that is only tried there is none, and nothing says why it ended.
    """
    data = job.data
    samples = data.val or data.train
    assessment = module.task.assess(predicted(module, samples.x.cpu())) if data.encoding else None
    references = {} if job.own_module or not data.features else _references(module, job, samples)
    fit = _fit(module, data, last, steps) if isinstance(module.model, FormulaNetwork) else None
    measures = {**derivative_rmse(module, data), **(errors_of(fit) if fit else {})}
    return Concluded(measures, assessment.plain() if assessment else None, references, fit)


def errors_of(fit: Mapping[str, Any]) -> dict[str, float]:
    """The standard errors of a fit, as metrics."""
    return {error_name(each["name"]): each["error"] for each in fit["parameters"] if each["error"] is not None}


def _fit(module: Supervised, data: Data, last: Path | None, steps: int) -> dict[str, Any]:
    # Only these two keep in their state why they stopped.
    stops = isinstance(module.optimizer, LevenbergMarquardt | LBFGS)
    states = load(last)["optimizer_states"][0]["state"].values() if last and stops else ()
    level = cast(FormulaNetwork, module.model).confidence
    keep_memory()  # resampled fits have temporaries of megabytes
    return measured_fit(module, data, level=level, stopped=why_stopped(states), steps=steps).plain()


def _references(module: Supervised, job: Job, samples: Split) -> dict[str, float]:
    """The model's loss on these samples beside what can be reached without one, and what noise does not let pass."""
    data, device = job.data, next(module.model.parameters()).device
    # The inputs, the targets and, where samples have them, the weights: what a loss is called with, but for the first.
    _, *targets = (each.to(device) for each in job.weighted(samples).tensors)
    guesses = {"model": predicted(module, samples.x.cpu()), "mean": _mean(data, len(samples), module.task.outputs)}
    # In float64: where there is no noise, the truth's loss would be that of its rounding (see _NOISE).
    truth = module.task.truth(data.of_inputs.in_own_units(samples.x.double())) if data.of_numbers else None
    if truth is not None:
        guesses["noise"] = data.of_targets.standard(truth)
    dtype = samples.x.dtype
    with torch.no_grad():
        found = {name: float(module.measured(guess.to(device, dtype), *targets)) for name, guess in guesses.items()}
    if found.get("noise", 0.0) <= _NOISE * found["mean"]:
        # Samples without noise have no floor to compare the model with; this number would be of rounding errors.
        found.pop("noise", None)
    return found


def _mean(data: Data, n: int, outputs: int) -> Tensor:
    """What a model says that looks at no input: the mean of the targets, or logarithms of the shares of the classes."""
    y = data.train.y
    if y.is_floating_point():
        return y.reshape(len(y), -1).mean(0).expand(n, -1)
    # The softmax of log p is p: as outputs these give the entropy of the classes as their loss.
    return (torch.bincount(y, minlength=outputs) / len(y)).log().expand(n, -1)


def n_parameters(module: nn.Module) -> tuple[int, int]:
    """How many parameters a module has, and how many of them it trains."""
    parameters = list(module.parameters())
    return sum(each.numel() for each in parameters), sum(each.numel() for each in parameters if each.requires_grad)


def predicted(module: Supervised, x: Tensor) -> Tensor:
    """The model's outputs, in evaluation and without a graph."""
    training = module.training
    module.eval()
    with torch.no_grad():
        parameter = next(module.model.parameters())
        outputs: Tensor = module.model(x.to(parameter))
        # NumPy has no bfloat16, and measures want more digits than a half has.
        outputs = outputs.to("cpu", torch.promote_types(outputs.dtype, torch.float32))
    module.train(training)
    return outputs
