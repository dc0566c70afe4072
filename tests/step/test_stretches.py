"""Stretches of a step as one kernel, run by run: torch's numbers to the bit, whatever lies between."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call, functionalize, grad, vmap
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from shoal.engines.stack.steady import steady
from shoal.step.compiled import draft, product
from shoal.step.compiled import program as compiled_program
from shoal.step.compiled.draft import Draft
from shoal.step.compiled.kernel import Kernel
from shoal.step.compiled.program import Heat, Program, of_graph
from shoal.step.compiled.verdicts import Verdicts
from shoal.step.exact.rows import made, same_bits
from shoal.step.passes import simplified

ACTIVATIONS = [nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.Softplus]


@pytest.fixture(autouse=True)
def one_thread(compiled_at_once: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(draft, "SLOWER", math.inf)
    # Of kernels that a test has changed nothing is for other tests to know.
    monkeypatch.setattr(Verdicts, "keep", lambda self: None)
    with steady():
        yield


@pytest.fixture
def agreeing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the last bits are here, all kernels are used."""
    monkeypatch.setattr(Kernel, "agrees", lambda self, values: True)
    monkeypatch.setattr(compiled_program, "_agree", lambda one, other, inputs: True)


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def network(*widths: int, activation: type[nn.Module] = nn.ReLU, bias: bool = True) -> nn.Module:
    layers = [
        each for before, after in pairwise(widths) for each in (nn.Linear(before, after, bias=bias), activation())
    ]
    return nn.Sequential(*layers[:-1])


def step_of(
    module: nn.Module, batch: int, dtype: torch.dtype = torch.float32, runs: int = 3
) -> tuple[GraphModule, list[Tensor]]:
    """A training step over a stack, traced and simplified, and what it is called with."""
    params = {name: numbers(runs, *value.shape, seed=3, dtype=dtype) for name, value in module.named_parameters()}
    first, *_, last = [each for each in module.modules() if isinstance(each, nn.Linear)]
    x = numbers(runs, batch, first.in_features, seed=1, dtype=dtype)
    y = numbers(runs, batch, last.out_features, seed=2, dtype=dtype)

    def loss(params: dict[str, Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        found = nn.functional.mse_loss(functional_call(module, params, (x,)), y)
        return found, found.detach()

    def flat(*given: Tensor) -> list[Tensor]:
        *values, x, y = given
        grads, losses = vmap(grad(loss, has_aux=True))(dict(zip(params, values, strict=True)), x, y)
        return [losses, *grads.values()]

    inputs = [*params.values(), x, y]
    return simplified(make_fx(functionalize(flat))(*inputs)), inputs


def by_torch(module: GraphModule, inputs: list[Tensor]) -> list[Tensor]:
    return list(of_graph(module, Heat(), "function").tried(*inputs))


def compiled(module: GraphModule, inputs: list[Tensor]) -> Program:
    program = of_graph(module, Heat(), "function")
    program(*inputs)
    return program


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(map(same_bits, one, other))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_step_keeps_its_bits_with_any_activation(activation: type[nn.Module], dtype: torch.dtype) -> None:
    module, inputs = step_of(network(2, 33, 20, 1, activation=activation), 19, dtype)
    expected = by_torch(module, inputs)

    program = compiled(module, inputs)

    assert program.compiled
    assert same(program(*inputs), expected)


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.integers(1, 40), width=st.integers(1, 40), outputs=st.integers(1, 3), bias=st.booleans())
def test_a_step_keeps_its_bits_whatever_its_widths_and_its_batch(
    capfd: pytest.CaptureFixture[str], batch: int, width: int, outputs: int, bias: bool
) -> None:
    module, inputs = step_of(network(2, width, width, outputs, bias=bias), batch)
    expected = by_torch(module, inputs)

    program = compiled(module, inputs)

    assert same(program(*inputs), expected)
    # The library prints that it does not take a matrix, and goes on.
    assert not capfd.readouterr().out


@settings(max_examples=8)
@given(
    outer=st.integers(1, 3),
    rows=st.integers(1, 300),
    width=st.sampled_from([1, 3, 8, 17, 32, 70]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_sums_and_means_keep_their_bits(outer: int, rows: int, width: int, dtype: torch.dtype) -> None:
    x = numbers(3, outer, rows, width, dtype=dtype)

    def function(x: Tensor) -> list[Tensor]:
        return [(x * 3).sum([2], True), (x * 3).mean([2]), (x * 3).sum([3]), (x * 3).sum([1, 2])]

    program = compiled(make_fx(function)(x), [x])

    assert program.compiled
    assert same(program(x), function(x))


@pytest.mark.usefixtures("agreeing")
def test_the_step_of_plain_layers_is_one_kernel() -> None:
    if product.portable() or torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        pytest.skip("this processor has no vectors that multiply and add with one rounding")
    module, inputs = step_of(network(2, 33, 20, 1), 19)
    expected = by_torch(module, inputs)

    begun = Draft(module, inputs)
    while not begun.ready():
        pass
    finished = begun.finished()

    targets = [node.target for node in finished.graph.nodes if node.op == "call_function"]
    assert sum(isinstance(target, Kernel) for target in targets) == 1
    left = {str(target.overloadpacket) for target in targets if isinstance(target, torch._ops.OpOverload)}
    assert left <= {"aten.view", "aten.transpose"}
    torch.testing.assert_close(finished(*inputs), expected)


BETWEEN: dict[str, Callable[..., Any]] = {
    "a softmax": lambda a, b: (((a * 2 + b) @ b).softmax(2).transpose(1, 2) + 1) @ (a * b),
    "a view that goes out": lambda a, b: ((a * b + 1).transpose(1, 2), ((a * b + 1).transpose(1, 2) * 2).sum([1])),
    "a view of the batch": lambda a, b: ((a * b + 1).transpose(0, 1) * 2, (a * b + 1) * 3),
    "what is read twice": lambda a, b: ((a * b).cumsum(1) + a * b, (a * b).relu() - b),
    "numbers of the run": lambda a, b: (a.sum([1, 2]) / b.sum([1, 2]) + 1, a.mean([1]) * 2),
    "a matrix by itself": lambda a, b: torch.bmm(a * 2, a * 2) + b,
    "a constant": lambda a, b: torch.ones_like(a[0]).cumsum(0) * a + b.exp(),
}


@pytest.mark.parametrize("between", BETWEEN)
def test_what_torch_computes_in_between_keeps_its_place(between: str) -> None:
    inputs = [numbers(3, 24, 24, seed=seed) for seed in range(2)]

    program = compiled(make_fx(BETWEEN[between])(*inputs), inputs)

    assert program.compiled
    assert same(made(program, inputs), made(BETWEEN[between], inputs))


def test_units_that_give_other_bits_together_are_computed_apart(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Kernel, "agrees", lambda self, values: len(self.units) == 1)
    module, inputs = step_of(network(2, 32, 1), 16)
    expected = by_torch(module, inputs)

    with caplog.at_level(logging.INFO, logger="shoal"):
        program = compiled(module, inputs)

    assert "Computed apart, because other bits would come of it together" in caplog.text
    torch.testing.assert_close(program(*inputs), expected)


def test_nothing_is_written_over_what_a_later_part_reads() -> None:
    def function(a: Tensor, b: Tensor) -> None:
        new = a * 2 + b
        mixed = torch.bmm(new, a.transpose(1, 2))
        b.copy_(mixed * b + a)
        a.copy_(new)

    def traced(given: Any) -> GraphModule:
        return make_fx(functionalize(function))(*(each.clone() for each in given))

    program = Program(function, traced, Heat(), "function")
    program(*(numbers(3, 16, 16, seed=seed) for seed in range(2)))
    places, expected = ([numbers(3, 16, 16, seed=seed) for seed in range(2)] for _ in range(2))

    program(*places)
    function(*expected)

    assert program.compiled
    assert same(places, expected)
