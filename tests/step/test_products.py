"""Products of shoal's own: the library's numbers to the bit, and only where they take less time."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.fx import Node
from torch.fx.experimental.proxy_tensor import make_fx

from shoal.engines.stack.steady import steady
from shoal.step.compiled import draft, product
from shoal.step.compiled import program as compiled_program
from shoal.step.compiled.kernel import Kernel
from shoal.step.compiled.program import Heat, Program, of_graph
from shoal.step.compiled.verdicts import Verdicts
from shoal.step.exact.rows import same_bits


@pytest.fixture(autouse=True)
def one_thread(compiled_at_once: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Of kernels that a test has changed nothing is for other tests to know.
    monkeypatch.setattr(Verdicts, "keep", lambda self: None)
    with steady():
        yield


@pytest.fixture
def always_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long they take here, products are worth it."""
    monkeypatch.setattr(draft, "SLOWER", math.inf)


def made(inputs: tuple[Tensor, ...]) -> Program:
    """A program with one product in it, after its first call."""
    found = of_graph(make_fx(lambda a, b: torch.bmm(a, b))(*inputs), Heat(), "function")
    found(*inputs)
    return found


def matrices(batch: int, rows: int, columns: int, *, turned: bool, seed: int) -> Tensor:
    shape = (batch, columns, rows) if turned else (batch, rows, columns)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return values.transpose(1, 2) if turned else values


sizes = st.integers(1, 40)


@pytest.mark.usefixtures("always_faster")
@settings(max_examples=15)
@given(rows=sizes, inner=sizes, columns=sizes, turned=st.tuples(st.booleans(), st.booleans()))
def test_a_product_that_stands_in_has_the_librarys_bits(
    rows: int, inner: int, columns: int, turned: tuple[bool, bool]
) -> None:
    left = matrices(3, rows, inner, turned=turned[0], seed=0)
    right = matrices(3, inner, columns, turned=turned[1], seed=1)

    result = made((left, right))(left, right)

    assert same_bits(result, torch.bmm(left, right))


@pytest.mark.usefixtures("always_faster")
@pytest.mark.parametrize("turned", [(False, True), (False, False), (True, False)], ids=["forward", "input", "weights"])
def test_the_three_products_of_a_layer_stand_in(turned: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    if product.portable() or torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        pytest.skip("this processor has no vectors that multiply and add with one rounding")
    monkeypatch.setattr(Kernel, "agrees", lambda self, values: True)  # the library's last bits are its own affair
    monkeypatch.setattr(compiled_program, "_agree", lambda one, other, inputs: True)
    left = matrices(4, 37, 35, turned=turned[0], seed=0)
    right = matrices(4, 35, 41, turned=turned[1], seed=1)

    program = made((left, right))

    assert program.compiled
    torch.testing.assert_close(program(left, right), torch.bmm(left, right))


@pytest.mark.parametrize(
    ("gain", "bits"),
    [(0.0, None), (math.inf, lambda given: [torch.bmm(*given) * 1.0000001])],
    ids=["slow", "other bits"],
)
def test_a_product_that_is_slower_or_has_other_bits_is_left_to_the_library(
    gain: float, bits: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draft, "SLOWER", gain)
    if bits is not None:
        monkeypatch.setattr(Kernel, "__call__", lambda self, *given, over=(): bits(given))  # type: ignore[operator]
    left, right = (matrices(4, 32, 32, turned=False, seed=seed) for seed in range(2))

    program = made((left, right))

    assert not program.compiled
    assert same_bits(program(left, right), torch.bmm(left, right))


def test_what_computes_portably_multiplies_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = (matrices(4, 32, 32, turned=False, seed=seed) for seed in range(2))
    graph = make_fx(lambda a, b: torch.bmm(a, b))(left, right).graph
    values: dict[Node, Tensor] = dict(zip(graph.nodes, (left, right, torch.bmm(left, right)), strict=False))
    monkeypatch.setattr(product, "portable", lambda: True)

    found = [function for node in values for function, _ in product.found(node, values)]
    assert set(found) <= {"multiplied_by_library"}


@pytest.mark.usefixtures("always_faster")
def test_a_product_is_not_written_over_what_it_reads() -> None:
    left, right = (matrices(4, 32, 32, turned=False, seed=seed) for seed in range(2))

    def function(a: Tensor, b: Tensor) -> Tensor:
        return torch.bmm(torch.bmm((a + b) * a, b), (a - b) * b)

    program = of_graph(make_fx(function)(left, right), Heat(), "function")
    program(left, right)

    assert program.compiled
    assert same_bits(program(left, right), function(left, right))
