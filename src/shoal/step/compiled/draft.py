"""A graph on its way to be run by kernels."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from shoal.step.compiled import pieces
from shoal.step.compiled.kernel import Addresses, Kernel, result
from shoal.step.compiled.library import CannotCompileError, Library
from shoal.step.compiled.operations import definitions
from shoal.step.compiled.stretches import stretches
from shoal.step.compiled.units import Unit, Values, candidates
from shoal.step.compiled.verdicts import Verdicts
from shoal.step.graph import describe, evaluated, writes
from shoal.step.lowering import lowered
from shoal.step.shortest import shortest

log = logging.getLogger(__name__)

aten = torch.ops.aten

SLOWER = 1.1
"""Of the library's time, what a product may take at most to stand in for it."""
ROUNDS = 5
"""In which both are timed; the best of them counts."""


class Draft:
    """A graph of which all that can be compiled is compiled."""

    def __init__(self, module: GraphModule, inputs: Sequence[Tensor]) -> None:
        """Begin to compile for inputs like these; what becomes of the module is the draft's.

        Raises:
            CannotCompileError: where nothing in the graph gains by it, or it cannot be begun.
        """
        elsewhere = {each.device.type for each in inputs} - {"cpu"}
        if elsewhere:
            raise CannotCompileError(f"it computes on {elsewhere.pop()}")
        if any(writes(node) and node.target is not aten.copy_.default for node in module.graph.nodes):
            raise CannotCompileError("it writes to its memory as it goes")
        self.module = module
        self._values = _values(module, inputs)
        for node, value in self._values.items():
            describe(node, value)
        self._kernels: list[Kernel] = []
        self._candidates = list(candidates(module.graph, self._values, len(inputs[0])))
        # An update of one operation, too, is a part of steps that are taken without Python between them.
        self._whole = len([node for node in module.graph.nodes if _computes(node)]) == 1
        if not any(self._pays(units) for units in self._candidates):
            raise CannotCompileError("no operations that gain by it")
        # Loops that differ in sizes alone have one text, and are compiled once.
        texts = dict.fromkeys(unit.function for units in self._candidates for unit in units if unit.pointwise)
        self._names = {text: f"kernel_{number}" for number, text in enumerate(texts)}
        self._loops = Library("\n".join([definitions(), *(f"void {name}{text}" for text, name in self._names.items())]))
        # Apart, since graphs have the same ones. What computes in another type than this one's would take a second.
        self._pieces = Library(pieces.source({value.dtype for value in self._values.values()}))
        self._verdicts = Verdicts(f"{self._loops.name} {self._pieces.name} {module.code}", inputs)

    @property
    def name(self) -> str:
        """What it was made of, and how, once it is finished."""
        computed = [node.name for kernel in self._kernels for node in kernel.nodes]
        return " ".join([self._loops.name, self._pieces.name, *computed, self.module.code])

    def ready(self) -> bool:
        """Whether the compiler is done."""
        return self._loops.ready() and self._pieces.ready()

    def finished(self) -> GraphModule:
        """The graph with kernels in it: those that agree to the bit with what they stand for.

        Raises:
            CannotCompileError: where there are none.
        """
        addresses = self._addresses()
        chosen = [unit for units in self._candidates if (unit := self._chosen(units, addresses)) is not None]
        self._kernels = [
            kernel
            for units in stretches(self.module.graph, chosen, self._values)
            if self._pays(units)
            for kernel in self._together(units, addresses)
        ]
        self._verdicts.keep()
        if not self._kernels:
            raise CannotCompileError("no kernel agrees with torch")
        moved: dict[Node, Node] = {}
        for kernel in self._kernels:
            _replace(self.module, kernel, moved)
            log.debug("Compiled: %s", kernel.__name__)
        return lowered(self.module)

    def _addresses(self) -> Addresses:
        loops, fixed = self._loops.functions(), self._pieces.functions()

        def of(unit: Unit) -> int:
            function = getattr(loops, self._names[unit.function]) if unit.pointwise else getattr(fixed, unit.function)
            return pieces.address(function)

        steps = {each: getattr(fixed, pieces.name("steps", each), None) for each in pieces.SUFFIXES}
        return Addresses(fixed.each_run, of, {dtype: found for dtype, found in steps.items() if found is not None})

    def _chosen(self, units: Sequence[Unit], addresses: Addresses) -> Unit | None:
        """The first of the units that agrees with torch; of products the fastest one."""
        agreeing: list[Kernel] = []
        for unit in units:
            with suppress(AttributeError):  # which the function is that no processor like this one has
                kernel = Kernel([unit], self._values, addresses)
                if self._verdicts.agrees(kernel, self._values):
                    agreeing.append(kernel)
                elif unit.pointwise:
                    log.info("Left to torch, because other bits would come of compiling it: %s", kernel.__name__)
            if agreeing and not _is_product(unit):
                break
        if agreeing and _is_product(units[0]):
            found = self._verdicts.fastest(agreeing, lambda: _fastest(agreeing, self._values))
            return None if found is None else agreeing[found].units[0]
        return agreeing[0].units[0] if agreeing else None

    def _pays(self, units: Sequence[Unit]) -> bool:
        """Whether something is saved: several operations are done as one, a large one, or all that there is."""
        return self._whole or len(units) > 1 or any(unit.group.pays or not unit.pointwise for unit in units)

    def _together(self, units: Sequence[Unit], addresses: Addresses) -> list[Kernel]:
        """One kernel of all units; several, should they not agree as one."""
        whole = Kernel(units, self._values, addresses)
        if len(units) == 1 or self._verdicts.agrees(whole, self._values):
            return [whole]
        log.info("Computed apart, because other bits would come of it together: %s", whole.__name__)
        return [Kernel([unit], self._values, addresses) for unit in units if self._pays([unit])]


def _computes(node: Node) -> bool:
    return node.op == "call_function" and node.target is not aten.copy_.default


def _is_product(unit: Unit) -> bool:
    return unit.group.nodes[0].target is aten.bmm.default


def _fastest(kernels: Sequence[Kernel], values: Values) -> int | None:
    """The place of the kernel that takes the least time; None where torch takes less."""
    inputs = [values[node] for node in kernels[0].inputs]
    times = [shortest(lambda kernel=kernel: kernel(*inputs), ROUNDS) for kernel in kernels]  # type: ignore[misc]
    fastest = min(range(len(kernels)), key=times.__getitem__)
    slower = times[fastest] > SLOWER * shortest(lambda: kernels[0].by_torch(*inputs), ROUNDS)
    return None if slower else fastest


class _Recorder(Interpreter):
    """Runs a graph as it stands and keeps every node's tensor; inputs stay what they are."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)
        self.values: dict[Node, Tensor] = {}

    def run_node(self, n: Node) -> Any:
        """What a node gives."""
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        if n.target is aten.copy_.default:
            value = args[1]
        elif n.op == "call_function":
            value = evaluated(n, args, kwargs)
        else:
            value = super().run_node(n)
        if isinstance(value, Tensor):
            self.values[n] = value
        return value


def _values(module: GraphModule, inputs: Sequence[Tensor]) -> dict[Node, Tensor]:
    recorder = _Recorder(module)
    with torch.no_grad():
        recorder.run(*inputs)
    return recorder.values


def _replace(module: GraphModule, kernel: Kernel, moved: dict[Node, Node]) -> None:
    """Put a kernel where its operations stand; `moved` tells what stands for the nodes of those before."""
    graph = module.graph
    with graph.inserting_after(kernel.nodes[-1]):
        call = graph.call_function(kernel, tuple(moved.get(node, node) for node in kernel.inputs))
    place = call
    for number, node in enumerate(kernel.outputs):
        with graph.inserting_after(place):
            place = graph.call_function(result, (call, number))
        place.meta["val"] = node.meta["val"]
        node.replace_all_uses_with(place)
        moved[node] = place
    # From the last on: fx erases no node that another one uses. Views that only the units looked at go, too.
    done = {*kernel.nodes, *kernel.views}
    for node in reversed(list(graph.nodes)):
        if node in done and not node.users:
            graph.erase_node(node)
    _put_behind(call, place)


def _put_behind(call: Node, last: Node) -> None:
    """Put views of a kernel's results that stand in front of it behind the last result."""
    late = set(call.users)
    for node in list(call.graph.nodes):
        if node is call:
            return
        if late.intersection(node.all_input_nodes):
            last.append(node)
            late.add(node)
            last = node
