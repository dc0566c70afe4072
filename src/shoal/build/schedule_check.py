"""Whether a scheduler can be made for its optimizer, and leads to the end of the run: tried before anything trains."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn

from shoal import optimizers, schedulers
from shoal.build.length_check import whole_length
from shoal.engines.course import Course
from shoal.engines.job import Job
from shoal.errors import ConfigError, brief

LONGEST = 10_000
"""Epochs that are tried at most: stepping a scheduler takes twenty microseconds."""


def check_schedule(job: Job) -> None:
    """Refuse a scheduler that cannot be made, or fails before the run has come to its end.

    Raises:
        ConfigError: what is wrong with it.
    """
    # Nothing to try, or an optimizer that only its module makes.
    if isinstance(job.scheduler, schedulers.Constant) or isinstance(job.optimizer, optimizers.Own):
        return
    course = Course.of(job, whole_length(job))
    if isinstance(job.scheduler, schedulers.Schedule):
        if job.in_memory:  # otherwise only the data loaders know how long an epoch is
            course.at(0, _params())
    elif not isinstance(job.scheduler, schedulers.Plateau):
        problem = _tried(_Tried(course, repr(course)))
        if problem:
            node = job.config["scheduler"]
            hint = f"set scheduler.total_steps={course.horizon.epochs}" if "total_steps" in node else None
            raise ConfigError("scheduler", node["_target_"], problem, hint=hint)


class _Tried:
    """A course that is equal to any other with the same settings, and so tried once."""

    def __init__(self, course: Course, text: str) -> None:
        self.course, self.text = course, text

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, _Tried) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


@functools.lru_cache(maxsize=64)
def _tried(tried: _Tried) -> str | None:
    """What is wrong with a scheduler of torch's kind, or None."""
    course, params = tried.course, _params()
    try:
        course.optimizer.alone(params)
    except Exception:  # it wants other parameters than these: only its training tells
        return None
    try:
        course.at(0, params)
    except Exception as error:
        return f"cannot be made for this optimizer: {brief(error)}"
    # Step by step, as torch's schedulers know no other way to a time.
    n_epochs = min(course.horizon.epochs or 1, LONGEST)
    try:
        course.at(n_epochs, params)
    except Exception as error:
        return f"fails before the {n_epochs} epochs of the run are done: {brief(error)}"
    return None


def _params() -> list[nn.Parameter]:
    # A matrix, for optimizers that take nothing else.
    return [nn.Parameter(torch.zeros(2, 2))]
