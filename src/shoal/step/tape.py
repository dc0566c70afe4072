"""`torch.autograd.grad` within a step that is mapped over runs, as in the residual of a differential equation.

Autograd keeps its graph beneath the mapping, where a step cannot reach it. What a step computes is written down
instead, and where it asks for a derivative, it is done again as a function that `torch.func.vjp` differentiates; what
is computed twice then, the trace computes once. The derivative is written down too, to be differentiated again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import vjp
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from shoal.step.unfit import CannotStackError

NEEDED = ("requires_grad_()", "does not require grad", "not have been used in the graph")
"""In what torch says where a step that is mapped asks autograd."""
_SET = Tensor.requires_grad.__set__  # type: ignore[attr-defined]
Values = Mapping[int, Tensor]
"""By the number of a tensor that was written down: what stands in its place."""


@dataclass(frozen=True)
class _Call:
    """Something that a step has computed."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    results: tuple[Tensor | None, ...]
    """The leaves of what it gave that it has computed."""
    with_gradient: bool
    """Whether autograd was on."""
    writes: frozenset[int] = frozenset()
    """The numbers of those of what it was given that it has written to."""

    @property
    def passes(self) -> bool:
        """Whether autograd follows what it has computed."""
        return self.with_gradient and self.function not in (Tensor.detach, torch.detach)

    @property
    def given(self) -> list[Tensor]:
        """The tensors it was computed from."""
        return [leaf for leaf in pytree.tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Tensor)]

    def again(self, values: Values) -> list[Any]:
        """The leaves of what it gives with these in the places of what it was given."""
        args, kwargs = pytree.tree_map(lambda leaf: values.get(id(leaf), leaf), (self.args, self.kwargs))
        return pytree.tree_leaves(self.function(*args, **kwargs))


class Tape(TorchFunctionMode):
    """While it is on, what is computed is written down, and derivatives of it can be asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[_Call] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func is torch.autograd.grad:
            return self._gradient(*args, **given)
        # Of what it is asked to follow, everything is written down.
        if func is Tensor.requires_grad_ and args[1:] != (False,) and given.get("requires_grad", True):
            return args[0]
        if func is _SET and args[1]:
            return None
        # By the count of writes: names do not tell. `relu` may write, and `contiguous` gives back what it takes.
        own = {leaf: leaf._version for leaf in pytree.tree_leaves((args, given)) if isinstance(leaf, Tensor)}
        found = func(*args, **given)
        writes = frozenset(id(leaf) for leaf, version in own.items() if leaf._version != version)
        same = {id(leaf) for leaf in own} - writes
        leaves = pytree.tree_leaves(found)
        results = tuple(leaf if isinstance(leaf, Tensor) and id(leaf) not in same else None for leaf in leaves)
        if writes or any(leaf is not None for leaf in results):
            self._calls.append(_Call(func, args, given, results, torch.is_grad_enabled(), writes))
        return found

    def _gradient(
        self,
        outputs: Any,
        inputs: Any,
        grad_outputs: Any = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        only_inputs: bool = True,
        allow_unused: bool | None = None,
        is_grads_batched: bool = False,
        materialize_grads: bool = False,
    ) -> tuple[Tensor | None, ...]:
        """`torch.autograd.grad`."""
        if is_grads_batched:
            raise CannotStackError(
                "differentiates by batches of gradients", "torch.func.vmap over torch.func.vjp stacks"
            )
        ends, places = _several(outputs), _several(inputs)
        given = _several(grad_outputs) if grad_outputs is not None else [None] * len(ends)
        seeds: list[Tensor] = [_ones(end) if each is None else each for end, each in zip(ends, given, strict=True)]
        reached = [place for place in places if self._needed(ends, {id(place)}) or any(place is end for end in ends)]
        if len(reached) < len(places) and not (allow_unused or materialize_grads):
            raise RuntimeError("One of the differentiated Tensors appears to not have been used in the graph")
        found = self._pulled(ends, reached, seeds, {}) if reached else []
        found = found if create_graph else [each.detach() for each in found]
        if create_graph and reached:
            self._calls.append(_Derivative(torch.autograd.grad, (ends, reached, seeds), {}, tuple(found), True))
        known = {id(place): each for place, each in zip(reached, found, strict=True)}
        missing = torch.zeros_like if materialize_grads else lambda place: None
        return tuple(known[id(place)] if id(place) in known else missing(place) for place in places)

    def _pulled(
        self, ends: Sequence[Tensor], places: Sequence[Tensor], seeds: Sequence[Tensor], values: Values
    ) -> list[Tensor]:
        """The products of `seeds` with the derivatives of `ends` by `places`, where `values` stand for some tensors."""
        needed = self._needed(ends, {id(place) for place in places})

        def function(*own: Tensor) -> tuple[Tensor, ...]:
            known = {**values, **{id(place): each for place, each in zip(places, own, strict=True)}}
            for call in needed:
                again = self._again(call, known)
                known |= {id(old): new for old, new in zip(call.results, again, strict=True) if old is not None}
            return tuple(known.get(id(end), end) for end in ends)

        pull: Any = vjp(function, *(values.get(id(place), place) for place in places))[1]
        return list(pull(tuple(values.get(id(seed), seed) for seed in seeds)))

    def _again(self, call: _Call, values: Values) -> list[Any]:
        if isinstance(call, _Derivative):
            ends, places, seeds = call.args
            return self._pulled(ends, places, seeds, values)
        return call.again(values)

    def _needed(self, ends: Sequence[Tensor], places: Collection[int]) -> list[_Call]:
        """The calls on the ways from the tensors of these numbers to the ends, in their order.

        Raises:
            CannotStackError: where something was written to on the way.
        """
        behind, lost, calls = set(places), set[int](), list[_Call]()
        for call in self._calls:
            if call.passes and any(id(each) in behind for each in call.given):
                # What it was before cannot be written to once more.
                lost |= call.writes - (behind - set(places))
                behind |= {id(each) for each in call.results if each is not None} | call.writes
                calls.append(call)
        before, needed = {id(end) for end in ends}, list[_Call]()
        for call in reversed(calls):
            if call.writes & before or any(id(each) in before for each in call.results if each is not None):
                before |= {id(each) for each in call.given}
                needed.append(call)
        if lost & before:
            raise CannotStackError(
                "takes a derivative of something that it writes to a tensor", "what is written can be a new tensor"
            )
        return needed[::-1]


class _Derivative(_Call):
    """A derivative that a step has asked for."""


def _several(given: Any) -> list[Any]:
    return [given] if isinstance(given, Tensor) else list(given)


def _ones(end: Tensor) -> Tensor:
    if end.numel() != 1:
        raise RuntimeError("grad can be implicitly created only for scalar outputs")
    return torch.ones_like(end)
