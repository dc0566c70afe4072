"""The probe before the first epoch: does each run of a stack get there what its own training step would give it?

Whatever a step depends on beside parameters, buffers and batch (Python's state, attributes, unkeyed randomness) either
cannot be mapped, or shows as a difference. A run that differs trains alone, and the reason says where to look.
"""

from __future__ import annotations

import inspect
import random
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from shoal.engines.stack.stack import Stack
from shoal.engines.step.captured import CannotStackError, CapturedStep
from shoal.engines.step.mapped import Clock, Mapped, Stepped
from shoal.seeding import seed_global

_TOLERANCE = {torch.float64: 1e-8}
_LIBRARIES = ("/site-packages/", "/shoal/engines/", "/contextlib.py")


def probe(stack: Stack, mapped: Mapped, modules: Sequence[pl.LightningModule], batch: Any) -> dict[int, str]:
    """For each run that cannot train in this stack, why; a run is a place in `modules`.

    `batch` is the first one, its tensors with the runs as their first dimension. Nothing is changed by the probe:
    neither the stack nor the modules, nor any random generator.
    """
    with generators_restored():
        try:
            result = mapped(stack.views(), stack.buffers, batch, Clock())
        except Exception as error:  # what a user's step does under vmap is not ours to foresee
            return dict.fromkeys(range(len(modules)), reason(error, modules[0]))
    found = {row: _difference(result, row, module, batch, mapped.share) for row, module in enumerate(modules)}
    return {row: why for row, why in found.items() if why}


def _difference(result: Stepped, row: int, module: pl.LightningModule, batch: Any, share: float) -> str | None:
    """In what a run differs alone; the stack's gradients are `share` times those of the loss."""
    own = pytree.tree_map(lambda leaf: leaf[row] if isinstance(leaf, Tensor) else leaf, batch)
    before = _attributes(module)
    with generators_restored():
        try:
            seed_global(0)
            loss, grads = _alone(module, own)
            seed_global(1)
            other, _ = _alone(module, own)
        except Exception as error:  # the run's own failure; it will meet it again when it trains alone
            return reason(error, module)
    changed = _changed(before, _attributes(module))
    if changed:
        return f"training_step ({_place(module)}) changes {changed}"
    if not torch.equal(loss, other):
        return f"training_step ({_place(module)}) draws from a global random generator"
    stacked = [grad[row] for grad in result.grads]
    if not _close(result.losses[row], loss):
        return (
            f"training_step ({_place(module)}) gives another loss alone: {float(loss):.6g}, in the stack "
            f"{float(result.losses[row]):.6g}; it depends on more than parameters, buffers and the batch"
        )
    if not all(_close(mine, other * share) for mine, other in zip(stacked, grads, strict=True)):
        return f"training_step ({_place(module)}) gives another gradient alone than in the stack"
    return None


def _alone(module: pl.LightningModule, batch: Any) -> tuple[Tensor, list[Tensor]]:
    """Loss and gradients of the module's own step."""
    params = {name: param for name, param in module.named_parameters() if param.requires_grad}
    fixed = {name: param.detach() for name, param in module.named_parameters() if not param.requires_grad}
    with torch.enable_grad():
        outcome = CapturedStep(module, "train")(params, fixed | dict(module.named_buffers()), batch, Clock())
        grads = torch.autograd.grad(outcome.loss, list(params.values()), allow_unused=True)
    whole = [torch.zeros_like(p) if g is None else g for g, p in zip(grads, params.values(), strict=True)]
    return outcome.loss.detach(), whole


def _close(mine: Tensor, other: Tensor) -> bool:
    """Whether two results differ by rounding alone; of what is not finite there is nothing to compare."""
    if not (mine.isfinite().all() and other.isfinite().all()):
        return bool((mine.isfinite() == other.isfinite()).all())
    tolerance = _TOLERANCE.get(mine.dtype, 1e-3)
    return float((mine - other).norm()) <= tolerance * max(float(other.norm()), tolerance)


def reason(error: BaseException, module: pl.LightningModule) -> str:
    """One line: what a step does that cannot be mapped, and where."""
    text = str(error)
    frame = _innermost(error)
    where = f"{Path(frame.filename).name}:{frame.lineno}" if frame else _place(module)
    if isinstance(error, CannotStackError):
        return f"training_step ({where}) {text}"
    if ".item()" in text or "data-dependent" in text:
        takes = frame is not None and ".item(" in (frame.line or "")
        return f"{where} takes a tensor's value with .item()" if takes else f"{where} branches on a tensor's value"
    if "random" in text:
        return f"{where} draws random numbers without a key"
    if "dynamic shape" in text or "nonzero" in text:
        return f"{where} makes a tensor whose shape depends on values"
    return f"{where}: {type(error).__name__}: {text.strip().partition(chr(10))[0]}"


def _innermost(error: BaseException) -> traceback.FrameSummary | None:
    """The innermost frame that is the user's."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if not frame.filename.startswith("<") and not any(name in frame.filename for name in _LIBRARIES)
    ]
    return own[-1] if own else None


def _place(module: pl.LightningModule) -> str:
    try:
        _, line = inspect.getsourcelines(type(module).training_step)
        return f"{Path(inspect.getfile(type(module))).name}:{line}"
    except (OSError, TypeError):
        return type(module).__name__


@contextmanager
def generators_restored() -> Iterator[None]:
    """Put the global random generators back afterwards."""
    states = random.getstate(), numpy.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        numpy.random.set_state(states[1])
        torch.set_rng_state(states[2])


_OWN = {"_parameters", "_buffers", "_modules", "training"}


def _attributes(module: nn.Module) -> dict[str, Any]:
    """The attributes of a module and its parts that are no tensors, containers copied."""
    return {
        f"{path}.{name}" if path else name: value.copy() if isinstance(value, dict | list | set) else value
        for path, part in module.named_modules()
        for name, value in vars(part).items()
        if name not in _OWN
    }


def _changed(before: dict[str, Any], after: dict[str, Any]) -> str | None:
    """The first attribute that a step changed."""
    for name, value in after.items():
        if name not in before:
            return f"self.{name}"
        old = before[name]
        same = old is value or (type(old) is type(value) and not isinstance(value, Tensor) and bool(old == value))
        if not same:
            return f"self.{name}"
    return None
