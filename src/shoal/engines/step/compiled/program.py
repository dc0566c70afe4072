"""A graph that is run again and again: by torch's operations, and once that has taken a while by compiled kernels.

Both give the same numbers to the bit: it does not matter when one takes over from the other, or whether it ever does.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from shoal.engines.step.compiled.kernel import Kernel, result
from shoal.engines.step.compiled.kernel_groups import KernelGroup, groups
from shoal.engines.step.compiled.library import CannotCompileError, Library
from shoal.engines.step.compiled.operations import definitions
from shoal.engines.step.compiled.product import SOURCE, Product, products
from shoal.engines.step.compiled.source import Loop, loop
from shoal.engines.step.exact import remembered
from shoal.engines.step.exact.rows import made, same_bits, varied
from shoal.engines.step.graph import describe, evaluated, writes
from shoal.engines.step.lowering import lowered

log = logging.getLogger(__name__)

aten = torch.ops.aten

HOT = 0.25
"""Seconds of running after which compiling pays: it takes as long, and saves a fifth of what follows."""


@dataclass
class Heat:
    """How long the programs have run that train runs of one kind."""

    seconds: float = 0.0
    _told: set[str] = field(default_factory=set)

    @property
    def hot(self) -> bool:
        """Whether it pays to compile them."""
        return self.seconds >= HOT

    def tell(self, what: str) -> None:
        """Log what has come of it, once for the programs of all shapes."""
        if what not in self._told:
            log.info(what)
            self._told.add(what)


class Program:
    """A function of tensors, given as a graph."""

    def __init__(
        self,
        run: Callable[..., Any],
        graph: Callable[[Sequence[Tensor]], GraphModule],
        heat: Heat,
        what: str,
    ) -> None:
        """`run` is the function, `graph` gives it as operations that write to no memory but at the end (`copy_`).

        The graph is made for inputs like those given, and the caller's to change. `what` it is stands in the log.
        """
        self.graph = graph
        self.what = what
        self._run = run
        self._heat = heat
        self._draft: _Draft | None = None
        self._settled = False
        self.compiled = False
        """Whether kernels have taken over."""
        self.text: str | None = None
        """All that it computes, where that can be told."""

    def __call__(self, *inputs: Tensor) -> Any:
        """What the function gives for inputs, whose shapes and strides are always the same."""
        if self._settled:
            return self._run(*inputs)
        began = time.perf_counter()
        outputs = self._run(*inputs)
        self._heat.seconds += time.perf_counter() - began
        if self._heat.hot:
            self._compile(inputs)
        return outputs

    @property
    def settled(self) -> bool:
        """Whether it is known by what it goes on."""
        return self._settled

    def tried(self, *inputs: Tensor) -> Any:
        """The same, which does not count towards compiling it."""
        return self._run(*inputs)

    def of_graph(self, module: GraphModule) -> Program:
        """The program of another graph in the place of this one."""
        return of_graph(module, self._heat, self.what)

    def _compile(self, inputs: Sequence[Tensor]) -> None:
        """Begin to compile, or see whether that is done; let go of it where it fails."""
        try:
            self._draft = self._draft or _Draft(self.graph(inputs), inputs)
            if not self._draft.ready():
                return
            module = self._draft.finished(inputs)
            compiled = runnable(module)
            name = remembered.digest(f"{self._draft.library.name} {module.code}", inputs)
            if not remembered.known(name):
                # Each kernel agrees by itself; that memory is used again at the right time shows in the whole only.
                if not _agree(self._run, compiled, inputs):
                    raise CannotCompileError("other bits would come of it as a whole")
                remembered.keep(name)
            self._run = compiled
            self.compiled = True
            self._heat.tell(f"The {self.what} goes on compiled")
        except Exception as error:  # whatever is in the way of it, torch goes on
            self._heat.tell(f"The {self.what} is not compiled: {str(error).partition(chr(10))[0]}")
        self._settled, self._draft = True, None


def of_graph(module: GraphModule, heat: Heat, what: str) -> Program:
    """The program that runs a graph that writes to no memory."""
    # A copy, since lowering changes the graph, and compiling begins with the one that writes nowhere.
    made_of = lowered(copy.deepcopy(module))
    program = Program(runnable(made_of), lambda inputs: copy.deepcopy(module), heat, what)
    program.text = made_of.code
    return program


def _agree(one: Callable[..., Any], other: Callable[..., Any], inputs: Sequence[Tensor]) -> bool:
    """Whether two programs make the same of inputs like these, to the bit."""
    given = varied(inputs, 1)
    return all(map(same_bits, made(one, given), made(other, given)))


def runnable(module: GraphModule) -> Callable[..., Any]:
    """A graph as a function, of which no gradients are taken."""

    def run(*inputs: Tensor) -> Any:
        with torch.no_grad():
            return module.forward(*inputs)

    return run


class _Draft:
    """A graph on its way to be run by kernels."""

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
        values = _values(self.module, inputs)
        for node, value in values.items():
            describe(node, value)
        loops = [(group, loop(group, values)) for group in groups(self.module.graph)]
        self.loops: list[tuple[KernelGroup, Loop]] = [(group, found) for group, found in loops if found is not None]
        self.products = products(module.graph, values)
        if not self.loops and not self.products:
            raise CannotCompileError("no operations that gain by it")
        # Loops that differ in sizes alone have one text, and are compiled once.
        texts = dict.fromkeys(found.text for _, found in self.loops)
        self.names = {text: f"kernel_{number}" for number, text in enumerate(texts)}
        self.library = Library("\n".join([definitions(), *(f"void {name}{text}" for text, name in self.names.items())]))
        self.product_library = Library(SOURCE) if self.products else None

    def ready(self) -> bool:
        """Whether the compiler is done."""
        return self.library.ready() and self._has_products()

    def _has_products(self) -> bool:
        """Whether the compiler is done with products, well or not."""
        # Products are extra: that they cannot be compiled keeps nothing else from it.
        with suppress(CannotCompileError):
            return self.product_library is None or self.product_library.ready()
        return True

    def finished(self, inputs: Sequence[Tensor]) -> GraphModule:
        """The graph with kernels in it: those that agree to the bit with what they stand for.

        Raises:
            CannotCompileError: where there are none.
        """
        functions = self.library.functions()
        values = _values(self.module, inputs)
        named = [(group, found, getattr(functions, self.names[found.text])) for group, found in self.loops]
        kernels = [Kernel(group, found, values, function) for group, found, function in named]
        agreeing = [kernel for kernel in kernels if kernel.agrees(values)]
        for kernel in set(kernels) - set(agreeing):
            log.info("Left to torch, because other bits would come of compiling it: %s", kernel.__name__)
        agreeing += self._products(values)
        if not agreeing:
            raise CannotCompileError("no kernel agrees with torch")
        for kernel in agreeing:
            _replace(self.module, kernel)
            log.debug("Compiled: %s", kernel.__name__)
        return lowered(self.module)

    def _products(self, values: Mapping[Node, Tensor]) -> list[Kernel]:
        """Those products that are faster than the library's and have its bits; none where they cannot be compiled."""
        if self.product_library is None:
            return []
        try:
            functions = self.product_library.functions()
        except CannotCompileError as error:
            log.debug("Products are left to torch: %s", error)
            return []
        found = [Product(group, numbers, values, functions.product) for group, numbers in self.products]
        return [each for each in found if each.is_faster(values) and each.agrees(values)]


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


def _replace(module: GraphModule, kernel: Kernel) -> None:
    """Put a kernel where its operations stand."""
    graph, group = module.graph, kernel.group
    with graph.inserting_after(group.nodes[-1]):
        call = graph.call_function(kernel, group.inputs)
    with graph.inserting_after(call):
        for number, node in enumerate(group.outputs):
            part = graph.call_function(result, (call, number))
            part.meta["val"] = node.meta["val"]
            node.replace_all_uses_with(part)
    # From the last on: fx erases no node that another one uses.
    for node in reversed(group.nodes):
        graph.erase_node(node)
