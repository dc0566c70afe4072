"""The text of a loop in C for a group of operations, and the numbers it is called with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import Node

from shoal.step.compiled.kernel_groups import KernelGroup
from shoal.step.compiled.operations import expression

TYPES = {torch.float32: "float", torch.float64: "double", torch.bool: "unsigned char"}
LONGEST_FIXED = 4096
"""The longest inner loop whose length is written into the text; a longer one loses nothing by being told it."""


@dataclass(frozen=True)
class Loop:
    """A function in C over pointers and numbers, and the numbers that make it that of certain shapes."""

    text: str
    """What stands behind the function's name."""
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class _Dimension:
    size: int
    strides: tuple[int, ...]
    """Of each operand, in elements."""


def loop(group: KernelGroup, values: Mapping[Node, Tensor]) -> Loop:
    """The loop for operands that lie in memory as these values do.

    The operands are the group's inputs, then its outputs. Everything an element needs is read before anything of it is
    written, so an output may lie where an input does.
    """
    operands = (*group.inputs, *group.outputs)
    shape = values[group.nodes[-1]].shape
    dimensions = _dimensions([_strides(values[node], shape) for node in operands], shape, first=len(group.inputs))
    numbers: list[int] = []

    def number(value: int) -> str:
        # An argument and no literal: loops of other sizes then share their text, and what was compiled of it.
        numbers.append(value)
        return f"n[{len(numbers) - 1}]"

    *outer, inner = dimensions
    lines = [f"  {_type(node)} *const p{i} = p[{i}];" for i, node in enumerate(operands)]
    for depth, dimension in enumerate(outer):
        lines.append(f"  for (long i{depth} = 0; i{depth} < {number(dimension.size)}; i{depth}++)")
    lines.append("  {")
    for i, node in enumerate(operands):
        terms = [f"i{d} * {number(each.strides[i])}" for d, each in enumerate(outer) if each.strides[i]]
        lines.append(f"    {_type(node)} *const r{i} = {' + '.join([f'p{i}', *terms])};")
        if not inner.strides[i]:
            lines.append(f"    const {_type(node)} x{i} = *r{i};")
    size = str(inner.size) if outer and inner.size <= LONGEST_FIXED else number(inner.size)
    # Said in so many words, since outputs may lie where inputs do: the compiler would take it for a dependence.
    lines += ["    #pragma omp simd", f"    for (long j = 0; j < {size}; j++) {{"]
    names: dict[Node, str] = {}
    for i, node in enumerate(group.inputs):
        if inner.strides[i]:
            place = "j" if inner.strides[i] == 1 else f"j * {number(inner.strides[i])}"
            lines.append(f"      const {_type(node)} x{i} = r{i}[{place}];")
        names[node] = f"x{i}"
    for i, node in enumerate(group.nodes):
        lines.append(f"      const {_type(node)} y{i} = {expression(node, names)};")
        names[node] = f"y{i}"
    for i, node in enumerate(group.outputs, len(group.inputs)):
        place = "j" if inner.strides[i] == 1 else f"j * {number(inner.strides[i])}"
        lines.append(f"      r{i}[{place}] = {names[node]};")
    text = "\n".join(["(void *const *p, const long *n) {", *lines, "    }", "  }", "}", ""])
    return Loop(text, tuple(numbers))


def _type(node: Node) -> str:
    return TYPES[node.meta["val"].dtype]


def _strides(value: Tensor, shape: torch.Size) -> Sequence[int]:
    """Strides of the value spread over the shape; zero where it repeats."""
    spread = value.expand(shape)
    return [0 if size == 1 else stride for size, stride in zip(spread.shape, spread.stride(), strict=True)]


def _dimensions(strides: Sequence[Sequence[int]], shape: torch.Size, *, first: int) -> list[_Dimension]:
    """The loops from the outermost to the innermost, as few as the operands allow, in the order of the first output."""
    found = [_Dimension(size, tuple(each)) for size, *each in zip(shape, *strides, strict=True) if size > 1]
    found.sort(key=lambda each: -each.strides[first])
    merged: list[_Dimension] = []
    for each in found:
        before = merged[-1] if merged else None
        if before and all(a == each.size * b for a, b in zip(before.strides, each.strides, strict=True)):
            merged[-1] = _Dimension(before.size * each.size, each.strides)
        else:
            merged.append(each)
    return merged or [_Dimension(1, (0,) * len(strides))]
