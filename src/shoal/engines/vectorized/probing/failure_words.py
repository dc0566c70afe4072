"""A failure of a step in a stack in words: what it does that cannot be mapped, where, and what to write instead."""

from __future__ import annotations

import inspect
import traceback
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from shoal.errors import brief
from shoal.step.captured import CapturedStep
from shoal.step.unfit import CannotStackError

# Without models, tasks and losses: in a step of shoal's own the line that fails is one of theirs.
_LIBRARIES = (
    "/site-packages/",
    *(f"/shoal/{name}/" for name in ("engines", "step", "sweeps", "record", "build", "dropin")),
    f"{Path(inspect.__file__).parent}/",
)
_UPSTREAM = tuple(
    f"/site-packages/{name}/"
    for name in ("torch", "torchmetrics", "lightning", "pytorch_lightning", "lightning_fabric", "lightning_utilities")
)
"""What a step is written with, and never where it goes wrong."""
_SENTENCES = {
    ("random",): "draws random numbers without a key",
    ("dynamic shape", "nonzero"): (
        "makes a tensor whose shape depends on values: a product with the mask has a fixed one"
    ),
    ("requires_grad_()", "does not require grad", "not have been used in the graph"): (
        "has autograd differentiate within the step, or sets what is trained: torch.func.grad and jacrev differentiate "
        "in a stack too"
    ),
    ("mutating directly with `.data`",): (
        "writes by .data: copy_ under torch.no_grad() writes to a buffer, and a hook of the epoch's end to weights"
    ),
    ("escaped from inside", "maybe_level.has_value()"): (
        "uses a tensor that an earlier step has left: what is kept from step to step can be a buffer of the module"
    ),
    ("doesn't have storage", "Tensor.numpy", "a Tensor that requires grad"): (
        "takes values out of a tensor (numpy(), tolist()): a tensor can be logged and computed with as it is"
    ),
    ("setup_context", "generate_vmap_rule"): (
        "uses an autograd.Function, or a backward hook, that cannot be mapped: with setup_context and "
        "generate_vmap_rule = True a Function can"
    ),
    ("mutate a captured Tensor",): (
        "writes to a tensor that neither the step has made nor the module has as a buffer: a buffer can be written to"
    ),
    ("retain_grad()",): "keeps the gradient of a tensor within the step (retain_grad): without that it stacks",
    ("saved tensor hooks",): "recomputes for its backward pass (torch.utils.checkpoint): without that it stacks",
    ("aten::equal",): "asks whether tensors are equal, which may be so in one run alone: their difference is a tensor",
    ("SparseCPU", "SparseCUDA"): "has sparse gradients: with sparse=False it stacks",
}
"""By words of torch's message what a step does, and what to write instead."""


def reason(error: BaseException, module: pl.LightningModule, step: CapturedStep | None = None) -> str:
    """One line: what a step does that cannot be mapped, and where; that of training unless it is given."""
    text = str(error)
    frame = _innermost(error)
    where = f"{Path(frame.filename).name}:{frame.lineno}" if frame else place_of(module, step)
    if isinstance(error, CannotStackError) and error.within:
        return f"{error.within} ({where}) {text}" if frame else f"{error.within} {text}"
    if isinstance(error, CannotStackError):
        return f"{step.name if step else 'training_step'} ({where}) {text}"
    if ".item()" in text or "data-dependent" in text:
        # Torch has one message for both: it only knows that a value was asked for.
        takes = frame is not None and ".item(" in (frame.line or "")
        if takes:
            return f"{where} takes a tensor's value with .item(): a tensor can be logged and computed with as it is"
        return f"{where} branches on a tensor's value: torch.where chooses without a branch"
    for words, sentence in _SENTENCES.items():
        if any(word in text for word in words):
            return f"{where} {sentence}"
    return f"{where}: {brief(error)}"


def _innermost(error: BaseException) -> traceback.FrameSummary | None:
    """The innermost frame in the user's own code; of a module from a package, the innermost in that package."""
    # Code that was made while the program runs, as by torch.fx, has a name in brackets and no file to look into.
    frames = [each for each in traceback.extract_tb(error.__traceback__) if not each.filename.startswith("<")]
    own = [each for each in frames if not any(name in each.filename for name in _LIBRARIES)]
    packaged = [
        each
        for each in frames
        if _LIBRARIES[0] in each.filename and not any(name in each.filename for name in _UPSTREAM)
    ]
    return next(reversed(own or packaged), None)


def of_mapping(error: BaseException) -> bool:
    """Whether the error comes from mapping the step over a stack, so that every run of it would fail alike."""
    # Torch has no class for these errors: they are known by their words alone.
    return isinstance(error, CannotStackError) or "vmap" in str(error) or "functorch" in str(error)


def place_of(module: pl.LightningModule, step: CapturedStep | None) -> str:
    """File and line of a module's step; that of training unless it is given, and the class where it has no file."""
    kind: Any = type(module)  # which mypy takes for one without a hash
    return _place(kind, step.name if step else "training_step")


@lru_cache  # each run of a stack asks for it, and its source would be read again for each
def _place(kind: type, name: str) -> str:
    try:
        _, line = inspect.getsourcelines(getattr(kind, name))
        return f"{Path(inspect.getfile(kind)).name}:{line}"
    except (OSError, TypeError):  # a class that was typed into an interpreter has no source
        return kind.__name__
