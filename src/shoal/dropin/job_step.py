"""A step of a job by its own attributes, and whether a stack would train what the job leaves alone."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from shoal.dropin.own_values import OwnValues
from shoal.seeding import generators_restored
from shoal.step.clock import Clock
from shoal.step.metered import MeteredStep
from shoal.step.stepped import Outcome, Tensors


class JobStep(MeteredStep):
    """The training step of a user's module; it notes which values the step reads of those in which jobs differ."""

    own: OwnValues | None = None
    """What the module holds otherwise than those of the other jobs."""

    def __call__(self, params: Tensors, buffers: Tensors, batch: Any, clock: Clock) -> Outcome:
        with self.own.noted() if self.own else nullcontext():
            return super().__call__(params, buffers, batch, clock)


def unreached(step: JobStep, batch: Any, clock: Clock) -> str | None:
    """Why a stack would step a parameter that its optimizer leaves alone, since the loss does not reach it."""
    params = {name: param for name, param in step.module.named_parameters() if param.requires_grad}
    own = pytree.tree_map(lambda leaf: leaf[0] if isinstance(leaf, Tensor) else leaf, batch)
    try:
        with generators_restored(), clock.alone(0, trains=True):
            clock.enter(0)
            loss = step.like(step.module)(params, step.held(), own, clock).loss
        grads = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
    except Exception:  # whatever a step of anybody's does: the probe will tell
        return None
    name = next((name for name, grad in zip(params, grads, strict=True) if grad is None), None)
    return name and f"the loss does not reach {name}, and a stack steps all that is trained"
