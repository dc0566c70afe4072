"""Compiled functions, done in a row for one run after the other, as an operation on tensors."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from shoal.step.compiled.places import Scratch, chain, in_step, is_view, owner
from shoal.step.compiled.units import Unit, Values
from shoal.step.exact.rows import SPREAD, laid_out, same_bits
from shoal.step.graph import evaluated

ENOUGH = 64
"""Numbers of each result, at least, that have to agree where the order of additions may differ."""
LONGEST = 8
"""Operations that the name of a kernel tells."""


@dataclass(frozen=True)
class Addresses:
    """Where the functions lie that have been compiled."""

    each_run: Callable[..., Any]
    """Calls functions in a row, run by run."""
    of: Callable[[Unit], int]
    steps: Mapping[torch.dtype, Any]
    """Take steps in a row, run by run, by type; none where the processor has no vectors."""


class Kernel:
    """Units in a row, for inputs that all have the shapes and strides it was made for."""

    def __init__(self, units: Sequence[Unit], values: Values, addresses: Addresses) -> None:
        self.units = units
        self.nodes = [node for unit in units for node in unit.group.nodes]
        # fx writes the graph's code with the name of each target; the log has it, too.
        names = [node.name for node in self.nodes]
        more = [f"and_{len(names) - LONGEST}_more"] if len(names) > LONGEST else []
        self.__name__ = "_".join([*names[:LONGEST], *more])
        self.inputs, self.views = _read(units, self.nodes, values)
        self.outputs = [node for unit in units for node in unit.group.outputs if _seen(node, self.nodes, values)]
        self.n_outputs = len(self.outputs)
        self.addresses = addresses
        self._covers = self._coverable(values)
        scratch = Scratch(units, self.outputs, values)
        self._scratch = torch.empty(scratch.size, dtype=torch.uint8)
        self._kept: list[Any] = []
        numbers = self._table(addresses, scratch, values)
        self._numbers = (ctypes.c_long * len(numbers))(*numbers)
        self._pointers = (ctypes.c_void_p * (len(self.inputs) + self.n_outputs + 1))()
        self._pointers[-1] = self._scratch.data_ptr()
        self._made = [(values[node].shape, values[node].stride(), values[node].dtype) for node in self.outputs]
        self._nowhere = [None] * self.n_outputs
        self._apart: dict[tuple[tuple[int, int], ...], Any] = {}

    def _table(self, addresses: Addresses, scratch: Scratch, values: Values) -> list[int]:
        """What `each_run` is told; see there."""
        table = [len(values[self.nodes[0]]), len(self.units)]
        for unit in self.units:
            numbers = (ctypes.c_long * max(len(unit.numbers), 1))(*unit.numbers)
            self._kept.append(numbers)
            table += [addresses.of(unit), ctypes.addressof(numbers), len(unit.operands)]
            for node in unit.operands:
                table += self._operand(owner(node, values), unit.operand(node, values), scratch, values)
        return table

    def _operand(self, whole: Node, value: Tensor, scratch: Scratch, values: Values) -> tuple[int, int, int]:
        """Which tensor an operand is in, and where it begins in it for the first run and from run to run, in bytes."""
        begin = value.data_ptr() - values[whole].data_ptr()
        if whole in scratch.places:
            return len(self.inputs) + self.n_outputs, scratch.places[whole] + begin, 0
        return [*self.inputs, *self.outputs].index(whole), begin, value.stride(0) * value.element_size()

    def __call__(self, *inputs: Tensor, over: Sequence[Tensor | None] = ()) -> list[Tensor]:
        """The units' outputs; `over` says for each whether it goes into memory of this tensor."""
        outputs = self.made(over)
        self._pointers[:-1] = [tensor.data_ptr() for tensor in (*inputs, *outputs)]
        self.addresses.each_run(self._pointers, self._numbers)
        return outputs

    def made(self, over: Sequence[Tensor | None] = ()) -> list[Tensor]:
        """Memory for the outputs: the tensors of `over`, and new ones where it has none."""
        return [
            torch.empty_strided(shape, stride, dtype=dtype) if place is None else place
            for (shape, stride, dtype), place in zip(self._made, over or self._nowhere, strict=True)
        ]

    def pointers(self, inputs: Sequence[int], outputs: Sequence[int]) -> list[int]:
        """What its functions are given of tensors that begin at these addresses."""
        return [*inputs, *outputs, self._scratch.data_ptr()]

    def calls(self, apart: Mapping[int, int]) -> int:
        """Where its calls are told for outputs, by their number, of which two runs' lie so many bytes apart."""
        key = tuple(apart.items())
        if key not in self._apart:
            self._apart[key] = (ctypes.c_long * len(self._numbers))(*self._spread(apart))
        return ctypes.addressof(self._apart[key])

    def _spread(self, apart: Mapping[int, int]) -> list[int]:
        # By the numbers, since the units' nodes are no longer there; see `each_run` for what stands where.
        numbers, at = list(self._numbers), 2
        for _ in range(numbers[1]):
            operands = numbers[at + 2]
            for place in range(at + 3, at + 3 + 3 * operands, 3):
                # Tensors are counted inputs first.
                numbers[place + 2] = apart.get(numbers[place] - len(self.inputs), numbers[place + 2])
            at += 3 + 3 * operands
        return numbers

    def may_cover(self, number: int, place: int) -> bool:
        """Whether an output may lie where an input does: nothing of a run is read after it was written over."""
        return (number, place) in self._covers

    def _coverable(self, values: Values) -> set[tuple[int, int]]:
        reads = [
            (i, owner(node, values), in_step(unit, node, values))
            for i, unit in enumerate(self.units)
            for node in unit.group.inputs
        ]
        writers = {node: i for i, unit in enumerate(self.units) for node in unit.group.outputs}
        return {
            (number, place)
            for number, made in enumerate(self.outputs)
            for place, whole in enumerate(self.inputs)
            if all(i < writers[made] or (i == writers[made] and in_step) for i, read, in_step in reads if read is whole)
        }

    def agrees(self, values: Values) -> bool:
        """Whether it gives torch's numbers to the bit, for these inputs and for ones in which every special case is.

        What is not a number may be any.
        """
        inputs = [values[node] for node in self.inputs]
        # A seed for each input: with one for all, an infinity would meet only infinities, and never a zero.
        given = [inputs, [_special(value, seed) for seed, value in enumerate(inputs)]]
        # The order of a sum may not show in zeros, of which a step's own numbers have many, nor in a few numbers.
        if not all(unit.pointwise for unit in self.units):
            fewest = min(values[node].numel() for node in self.outputs)
            numbers = range(1, max(2, ENOUGH // fewest) + 1)
            given += [[_varied(value, number + seed) for seed, value in enumerate(inputs)] for number in numbers]
        return all(
            same_bits(one, other)
            for each in given
            for one, other in zip(self(*each), self.by_torch(*each), strict=True)
        )

    def by_torch(self, *inputs: Tensor) -> list[Tensor]:
        """The units' outputs as torch's operations give them."""
        known = dict(zip(self.inputs, inputs, strict=True))

        def value(node: Node) -> Tensor:
            # Asked for as they are needed: views stand behind the operations that look through them.
            if node not in known:
                args: Any = torch.fx.map_arg(node.args, value)
                kwargs: Any = torch.fx.map_arg(node.kwargs, value)
                known[node] = evaluated(node, args, kwargs)
            return known[node]

        return [value(node) for node in self.outputs]


def result(outputs: Sequence[Tensor], number: int) -> Tensor:
    """One of a kernel's outputs: memory of its own, unlike a part of what torch's operations give."""
    return outputs[number]


def _read(units: Sequence[Unit], nodes: Sequence[Node], values: Values) -> tuple[list[Node], list[Node]]:
    """Nodes outside whose memory the units read, and the views through which they look at memory."""
    chains = [chain(node, values) for unit in units for node in unit.group.inputs]
    inputs = dict.fromkeys(each[-1] for each in chains if each[-1] not in nodes)
    return list(inputs), list(dict.fromkeys(view for each in chains for view in each[:-1]))


def _seen(node: Node, nodes: Sequence[Node], values: Values) -> bool:
    """Whether anybody else reads a node's value, be it through views."""
    return any(
        _seen(user, nodes, values) if is_view(user, values) else True for user in node.users if user not in nodes
    )


_SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-40, -1e-40, 1e30, -1e30, torch.inf, -torch.inf, torch.nan)


POOL = 65521
"""Random numbers that all checks share: to draw some for each takes longer than the check. A prime, so that no two rows
of a tensor are the same."""


def _special(like: Tensor, seed: int) -> Tensor:
    """Numbers laid out as those given, every second one a special case; another choice for every seed."""
    return laid_out(_drawn(_specials(), like, seed).to(like.dtype), like.stride())


def _varied(value: Tensor, seed: int) -> Tensor:
    """The numbers with something random added; other numbers for every seed."""
    # Classes and places have to stay within their range.
    if not value.is_floating_point():
        return value
    return laid_out(value + (_drawn(_shares(), value, seed) * SPREAD).to(value.dtype), value.stride())


def _drawn(pool: Tensor, like: Tensor, seed: int) -> Tensor:
    begin = seed * 7919 % POOL
    return pool.repeat((begin + like.numel()) // POOL + 1)[begin : begin + like.numel()].view(like.shape)


@cache
def _shares() -> Tensor:
    return torch.rand(POOL, generator=torch.Generator().manual_seed(0))


@cache
def _specials() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    special = torch.tensor(_SPECIAL)[torch.randint(len(_SPECIAL), (POOL,), generator=generator)]
    usual = torch.randn(POOL, generator=generator)
    return torch.where(torch.rand(POOL, generator=generator) < 0.5, special, usual)
