"""Which hooks of a module or a callback a stack calls, and which keep a run out of one."""

from __future__ import annotations

import dis
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import LambdaCallback

from shoal.aliases import canonical

BEGINNING = ("setup", "on_fit_start", "on_train_start")
TRAINING = ("on_train_epoch_start", "on_train_epoch_end")
VALIDATION = (
    "on_validation_start",
    "on_validation_epoch_start",
    "on_validation_epoch_end",
    "on_validation_end",
)
END = ("on_train_end", "on_fit_end", "teardown")
CALLED = (*BEGINNING, *TRAINING, *VALIDATION, *END)
"""Hooks that are called for each run, at the ends of epochs."""

OF_BATCHES = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_validation_batch_start",
    "on_validation_batch_end",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)
"""Hooks of callbacks that Lightning calls at every batch."""
_NOT_CALLED = (
    *OF_BATCHES,
    *["backward", "optimizer_zero_grad", "optimizer_step", "configure_gradient_clipping", "lr_scheduler_step"],
    *["on_validation_model_eval", "on_validation_model_train", "on_validation_model_zero_grad"],
    *["on_sanity_check_start", "on_sanity_check_end", "on_exception", "configure_callbacks"],
)
_OF_CHECKPOINTS = ("on_save_checkpoint", "on_load_checkpoint")
_LIGHTNING = ("pytorch_lightning.", "lightning_fabric.")
_BASES = (pl.LightningModule, pl.Callback, LambdaCallback)


def hooks_of(owner: Any) -> list[str]:
    """The hooks of a module or a callback that a stack calls, as far as they do something."""
    module = isinstance(owner, pl.LightningModule)  # which is set up before the stack is made
    return [name for name in CALLED if _own(owner, name) and not (module and name == "setup")]


def not_called(owner: Any) -> str | None:
    """The first hook of a module or a callback that does something, and that a stack does not call."""
    names = _NOT_CALLED + _OF_CHECKPOINTS if isinstance(owner, pl.Callback) else _NOT_CALLED
    return next((name for name in names if _own(owner, name)), None)


def drop_unused(callback: pl.Callback) -> None:
    """Set the hooks of every batch that a callback does not have to None, which Lightning passes over.

    Calling all of them for nothing would cost a third of a small model's step.
    """
    for name in OF_BATCHES:
        if getattr(type(callback), name) is getattr(pl.Callback, name) and name not in vars(callback):
            setattr(callback, name, None)


def of_shoal(cls: type) -> bool:
    """Whether a class is one of shoal's own."""
    return cls.__module__.startswith("shoal.")


def called(callbacks: Mapping[str, pl.Callback]) -> dict[str, pl.Callback]:
    """The callbacks that a stack calls for each run, by name."""
    return {name: each for name, each in callbacks.items() if not upstream(each) and hooks_of(each)}


def upstream(callback: pl.Callback) -> bool:
    """Whether it is a callback of Lightning's, or made from one: those ask a Trainer for more than a stack can say."""
    # Also where a class of the user's own has none of the hooks itself: those that it inherits call what it has.
    return any(upstream_class(cls) and cls not in _BASES for cls in type(callback).__mro__)


def _own(owner: Any, name: str) -> bool:
    hook = vars(owner).get(name)  # given to the object itself, as LambdaCallback does
    if hook is None:
        where = next((cls for cls in type(owner).__mro__ if name in vars(cls)), None)
        # What hooks of shoal's own classes do, a stack does itself.
        if where is None or where in _BASES or upstream_class(where) or of_shoal(where):
            return False
        hook = vars(where)[name]
    return not _does_nothing(hook)


def upstream_class(cls: type) -> bool:
    """Whether a class is Lightning's."""
    # Lightning's demos are modules as a user writes them.
    return canonical(cls.__module__).startswith(_LIGHTNING) and ".demos." not in cls.__module__


def _does_nothing(hook: Any) -> bool:
    """Whether a function has no more than a description, or `pass`."""
    code = getattr(hook, "__code__", None)
    # Templates override hooks with `pass`: no reason to train alone. A constant that is given back is one.
    if code is None or code.co_consts[-1] is not None:
        return False
    return {each.opname for each in dis.get_instructions(code)} <= {
        "RESUME",
        "LOAD_CONST",
        "RETURN_VALUE",
        # What Python 3.12 makes of the two before it.
        "RETURN_CONST",
    }
