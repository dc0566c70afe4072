"""Whether a stack saves more than it costs to make.

Measured, CPU time of small networks with metrics: to trace the steps of one shape, to check their bits and to compile
them takes as long as 350 to 500 steps of a job alone, of which a stack saves most. Steps that are little else than
arithmetic gain less, but cost less to make ready, counted in steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from shoal.dropin.waiting import Waiting
from shoal.dropin.when import Stacks

STEPS = 500
"""Steps of jobs that pay for making those of one shape ready."""
VALIDATION = 0.5
"""Of a step of training, what one of validation counts: it has no backward pass."""


def why_not(jobs: Sequence[Waiting], when: Stacks) -> str | None:
    """Why a stack would cost these jobs more than it saves; None where it pays."""
    if when is Stacks.NEVER:
        return "hydra.launcher.stacks is never"
    if when is Stacks.ALWAYS:
        return None
    first = jobs[0]
    # Each size of batch is another program, to be traced, compared and compiled.
    shapes = len(set(first.train.sizes)) + (len(set(first.val.sizes)) if first.val else 0)
    steps = sum(_steps_left(job) for job in jobs)
    if steps >= STEPS * shapes:
        return None
    n = "one job has" if len(jobs) == 1 else f"{len(jobs)} jobs have"
    return f"a stack pays from {STEPS * shapes} steps of all its jobs on, and {n} {steps:.0f} left"


def _steps_left(job: Waiting) -> float:
    """Steps that a job may have left: it can stop earlier."""
    trainer, n = job.fit.trainer, len(job.train.sizes)
    epochs = math.inf if trainer.max_epochs in (None, -1) else trainer.max_epochs - job.epoch
    if trainer.max_steps not in (None, -1):
        left = (trainer.max_steps - job.step) * job.fit.accumulate
        epochs = min(epochs, left / n)
    # Never None here: `fitness` lets no such Trainer wait.
    validated = len(job.val.sizes) / trainer.check_val_every_n_epoch if job.val else 0
    return float(epochs * (n + VALIDATION * validated))
