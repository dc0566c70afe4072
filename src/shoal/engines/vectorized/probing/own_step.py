"""A module's own step by itself, as the steps of a stack are compared with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from shoal.engines.stack.moving import HOST, fetched
from shoal.step.attributes import Attributes
from shoal.step.by_hand import ByHandStep
from shoal.step.captured import CapturedStep
from shoal.step.clock import Clock
from shoal.step.left import as_before, shown
from shoal.step.outward import nothing_left
from shoal.step.unfit import AS_BUFFER, CannotStackError


class Alone(NamedTuple):
    """The results of a module's own step."""

    loss: Tensor
    logged: dict[str, Tensor]
    buffers: dict[str, Tensor]
    outputs: tuple[Tensor, ...]
    grads: list[Tensor]
    reached: tuple[bool, ...]
    """Which of the parameters the loss reaches."""

    @property
    def numbers(self) -> list[Tensor]:
        """The loss, and what it logs."""
        return [self.loss, *self.logged.values()]


def by_itself(
    step: CapturedStep,
    batch: Any,
    clock: Clock,
    names: Sequence[str],
    watch: Callable[[Iterable[Tensor]], None] = lambda weights: None,
    *,
    double: bool = False,
    factor: float = 1.0,
) -> Alone:
    """What a module's own step gives where its batch is, its gradients those of the parameters of these names.

    It is given weights that `watch` is told of; if `double`, all numbers are taken in double precision. With a
    `factor` the weights and the numbers of the batch are others.
    """
    params = {name: param for name, param in step.module.named_parameters() if param.requires_grad}
    held = step.held()
    if factor != 1:
        params = {name: nn.Parameter(param.detach() * factor) for name, param in params.items()}
        batch = pytree.tree_map(lambda leaf: _otherwise(leaf, factor), batch)
    if double:
        params = {name: nn.Parameter(param.detach().double()) for name, param in params.items()}
        held, batch = doubled((held, batch))
    values = [params[name] for name in names]
    device = next((each.device for each in pytree.tree_leaves(batch) if isinstance(each, Tensor)), HOST)
    with torch.set_grad_enabled(bool(names) or isinstance(step, ByHandStep)):
        # The module's own weights stay in main memory, and autograd follows the copies back to them.
        placed, held = ({n: each.to(device) for n, each in named.items()} for named in (params, held))
        watch(placed.values())
        outcome = step(placed, held, batch, clock)
        # A parameter that the loss does not reach has no gradient alone, and zeros in a stack.
        grads = _differentiated(step, outcome.loss, values) if names else ()
    whole = [torch.zeros_like(p) if g is None else g for g, p in zip(grads, values, strict=True)]
    reached = tuple(each is not None for each in grads)
    found = Alone(outcome.loss.detach(), outcome.logged, outcome.buffers, outcome.outputs, whole, reached)
    return fetched(found, device)


def _differentiated(step: CapturedStep, loss: Tensor, values: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """The gradient of a step's loss.

    Raises:
        CannotStackError: where hooks of its tensors leave something as well.
    """
    if not loss.requires_grad and values:
        raise CannotStackError(
            "returns a loss without a gradient", "detach(), no_grad() and new tensors of its value leave it without one"
        )
    if not step.closely:
        return torch.autograd.grad(loss, values, allow_unused=True)
    attributes = Attributes(step.module)
    attributes.note()
    with nothing_left(step.module, "backward", hears=step.hears) as listening, as_before(step.module):
        with step.left.noticing(step.module), listening:
            found = torch.autograd.grad(loss, values, allow_unused=True)
        left = next(attributes.differing(), None)
    if left:
        raise CannotStackError(f"changes {shown(left[0])} as its gradient is taken", AS_BUFFER)
    return found


def _otherwise(leaf: Any, factor: float) -> Any:
    """Other numbers of the same form: each sample another one's, and multiplied where it is no whole number."""
    if not isinstance(leaf, Tensor) or leaf.dim() == 0:
        return leaf
    return leaf.flip(0) * factor if leaf.is_floating_point() else leaf.flip(0)


def doubled(given: Any) -> Any:
    """Single precision as double."""
    single = torch.float32
    return pytree.tree_map(lambda x: x.double() if isinstance(x, Tensor) and x.dtype == single else x, given)
