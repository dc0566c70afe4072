"""The gradient of a model's loss by its parameters and inputs, against differences; what is wrong is named."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from shoal.errors import UsageError
from shoal.gradcheck.agreement import Agreement
from shoal.gradcheck.culprits import Culprit, culprits
from shoal.gradcheck.differences import Reading, differences
from shoal.seeding import Stream, generator, global_generator

TOLERANCE = 1e-5
"""Difference allowed between autograd and finite differences, relative to the norm of the gradient."""
_STEPS = (1e-5, 1e-6, 1e-7)
_UNSURE = 3
"""How many times their own uncertainty the differences may be off."""
_TOLD = 0.1
"""An uncertainty above this share of the gradient tells nothing."""
_DIRECTIONS = 2
_SAMPLES = 64
"""Samples of the batch that are used: a backward that is wrong for a batch is wrong for a part of it too."""

Batch = Any
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class TensorCheck:
    """The gradient by one parameter, or by the inputs."""

    name: str
    shape: tuple[int, ...]
    norm: float
    """Of the gradient by autograd."""
    disagreement: float
    """Between autograd and differences along a random direction, relative to the norm."""
    agrees: bool


@dataclass(frozen=True)
class LossCheck(Agreement):
    """What was found; `agrees` where every gradient is right."""

    loss: float
    tensors: tuple[TensorCheck, ...]
    culprits: tuple[Culprit, ...]
    graph_in_evaluation: bool
    """Whether outputs need a gradient under evaluation."""
    tolerance: float

    @property
    def agrees(self) -> bool:
        return all(each.agrees for each in self.tensors)

    @property
    def largest_disagreement(self) -> float:
        """Relative to the norm of a gradient."""
        return max(each.disagreement for each in self.tensors)

    def plain(self) -> dict[str, Any]:
        """As lists, dictionaries and numbers, for JSON."""
        return asdict(self) | {"agrees": self.agrees, "largest_disagreement": self.largest_disagreement}

    def text(self) -> str:
        """A line for each parameter and for the inputs, then whose backward is wrong."""
        width = max(len(each.name) for each in self.tensors)
        lines = [
            f"loss {self.loss:.10g} (float64)",
            f"{'gradient by':<{width}}  {'shape':>12}  {'norm':>12}  disagreement",
        ]
        for each in self.tensors:
            wrong = "" if each.agrees else "  DISAGREES"
            shape = "x".join(map(str, each.shape)) or "scalar"
            lines.append(f"{each.name:<{width}}  {shape:>12}  {each.norm:>12.6g}  {each.disagreement:12.2g}{wrong}")
        for culprit in self.culprits:
            lines.append(f"wrong backward in {culprit.path} ({culprit.module})")
            lines += [f"  its hand-written function {each}" for each in culprit.functions]
        lines.append(f"graph: {'recorded' if self.graph_in_evaluation else 'none'} under evaluation")
        wrong_ones = sum(not each.agrees for each in self.tensors)
        verdict = f"{wrong_ones} of {len(self.tensors)} DISAGREE" if wrong_ones else "all agree"
        lines.append(f"largest disagreement {self.largest_disagreement:.2g}: {verdict} (allowed: {self.tolerance:g})")
        return "\n".join(lines)


def check_loss(module: nn.Module, batch: Batch, loss: Loss | None = None, *, tolerance: float = TOLERANCE) -> LossCheck:
    """Check the gradient of the loss of `batch` by every parameter of `module` and by the inputs, in float64.

    The loss is `loss(module(x), y)` for a batch (x, y); or, without `loss`, what a LightningModule's `training_step`
    gives. The module itself is not changed.

    Raises:
        UsageError: where there is no loss to differentiate, or it changes from one evaluation to the next.
    """
    work = _Work(module, batch, loss)
    tensors = tuple(_checked(work, name, tensor, tolerance) for name, tensor in work.tensors.items())
    wrong = not all(each.agrees for each in tensors)
    return LossCheck(
        loss=work.value,
        tensors=tensors,
        culprits=tuple(culprits(work.module, work.evaluate, type(loss or work.module).__name__)) if wrong else (),
        graph_in_evaluation=work.graph_in_evaluation(),
        tolerance=tolerance,
    )


class _Work:
    """A float64 copy of the module with one batch: its loss as a function of parameters and inputs."""

    def __init__(self, module: nn.Module, batch: Batch, loss: Loss | None) -> None:
        # In training mode, whose gradient is the one that trains.
        self.module = copy.deepcopy(module).double().train()
        self.loss = loss
        if isinstance(self.module, pl.LightningModule):
            # There is no Trainer here, of which Lightning's own would warn at each evaluation.
            self.module.log = self.module.log_dict = _ignored  # type: ignore[method-assign]
        self.batch = _double(batch)
        self.tensors: dict[str, Tensor] = {
            name: each for name, each in self.module.named_parameters() if each.requires_grad
        }
        first = self.batch[0] if isinstance(self.batch, tuple | list) else self.batch
        if isinstance(first, Tensor) and first.is_floating_point() and first.numel():
            # In place: the batch is a copy (`_double`).
            self.tensors["inputs"] = first.requires_grad_()
        self.gradients = self._gradients()

    def evaluate(self) -> Tensor:
        """The loss, random numbers being the same every time."""
        with global_generator(0, Stream.USER):
            if self.loss is not None:
                x, y = self.batch
                return self.loss(self.module(x), y)
            if not isinstance(self.module, pl.LightningModule):
                raise UsageError("a loss is needed: only a LightningModule brings its own")
            step = self.module.training_step(self.batch, 0)
        found = step["loss"] if isinstance(step, Mapping) else step
        if not isinstance(found, Tensor):
            raise UsageError(f"training_step of {type(self.module).__name__} returns no loss")
        return found

    def graph_in_evaluation(self) -> bool:
        self.module.eval()
        with torch.no_grad():
            return self.evaluate().requires_grad

    def _gradients(self) -> dict[str, Tensor]:
        if not self.tensors:
            raise UsageError("the model has neither parameters nor inputs to differentiate by")
        loss = self.evaluate()
        with torch.no_grad():
            again = self.evaluate()
        self.value = loss.item()
        # Of a loss that draws from a generator of its own, differences would show the draws.
        if not math.isfinite(self.value) or again.item() != self.value:
            problem = "is not finite" if not math.isfinite(self.value) else "changes from one evaluation to the next"
            raise UsageError(f"the loss {problem}: its gradient cannot be checked")
        # A parameter that the loss does not depend on has a gradient of zero.
        found = torch.autograd.grad(loss, list(self.tensors.values()), allow_unused=True)
        pairs = zip(self.tensors.items(), found, strict=True)
        return {name: torch.zeros_like(tensor) if each is None else each for (name, tensor), each in pairs}


def _checked(work: _Work, name: str, tensor: Tensor, tolerance: float) -> TensorCheck:
    gradient = work.gradients[name]
    norm = gradient.norm().item()
    drawn = generator(0, Stream.USER)
    worst, agrees = 0.0, True
    for _ in range(_DIRECTIONS):
        # Signs, not normal numbers: so every element of the gradient counts as much.
        direction = torch.randint(0, 2, tensor.shape, generator=drawn).to(tensor) * 2 - 1
        autograd = (gradient * direction).sum().item()
        difference, size = _difference(_Along(work, tensor, direction), autograd, norm, tolerance)
        worst = max(worst, difference / size if size else 0.0)
        # Of a gradient that is as good as zero only the rounding of the loss is left.
        agrees = agrees and difference <= tolerance * size + 1e-9 * abs(work.value)
    return TensorCheck(name, tuple(tensor.shape), norm, worst, agrees)


def _difference(along: _Along, autograd: float, norm: float, tolerance: float) -> tuple[float, float]:
    """How far autograd is from the slope of the loss, and the size that this is relative to."""
    # The step that agrees best counts: a large one may cross the kink of a ReLU, a small one drowns in rounding.
    found = min((along.slope(step) for step in _STEPS), key=lambda value: abs(value - autograd))
    if abs(found - autograd) > tolerance * max(norm, abs(found)):
        # Steps of all lengths: the scale of the parameters may be another, and at a kink each side has its own slope.
        told = _told(differences(along, 0.0).fine, autograd, norm)
        found = min([found, *told], key=lambda value: abs(value - autograd))
    return abs(found - autograd), max(norm, abs(found))


def _told(reading: Reading, autograd: float, norm: float) -> list[float]:
    """The slope nearest to autograd's within each range that the values of the loss allow."""
    spans = [
        (each.value - _UNSURE * each.uncertainty, each.value + _UNSURE * each.uncertainty)
        for each in (reading.best, reading.left, reading.right)
        if each.uncertainty <= _TOLD * norm
    ]
    spans += [(min(reading.kink), max(reading.kink))] if reading.kink else []
    return [min(max(autograd, low), high) for low, high in spans]


@dataclass(frozen=True)
class _Along:
    """The loss as `tensor` moves along `direction`."""

    work: _Work
    tensor: Tensor
    direction: Tensor

    def __call__(self, step: float) -> float:
        original = self.tensor.detach().clone()
        with torch.no_grad():
            self.tensor.add_(self.direction, alpha=step)
            found = self.work.evaluate().item()
            # Taking the step back would leave its rounding in the parameters.
            self.tensor.copy_(original)
        return found

    def slope(self, step: float) -> float:
        return (self(step) - self(-step)) / (2 * step)


def _double(batch: Batch) -> Batch:
    if isinstance(batch, Tensor):
        part = batch[:_SAMPLES].detach().clone() if batch.dim() else batch.detach().clone()
        return part.double() if part.is_floating_point() else part
    if isinstance(batch, Mapping):
        return {name: _double(each) for name, each in batch.items()}
    if isinstance(batch, tuple | list):
        parts = [_double(each) for each in batch]
        # A named tuple takes its parts one by one.
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return batch


def _ignored(*args: Any, **kwargs: Any) -> None:
    """In place of `log`: nothing is logged here."""
    del args, kwargs
