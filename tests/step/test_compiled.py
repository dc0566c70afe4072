"""Compiled kernels: the numbers of torch's own operations to the bit, on whatever processor they are compiled."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from shoal.engines.stack.steady import steady
from shoal.models import MLP
from shoal.optimizers import Optimizer
from shoal.step.compiled import operations, program
from shoal.step.compiled.kernel import Kernel
from shoal.step.compiled.program import Heat, Program, of_graph
from stacks import OPTIMIZERS, trained

aten = torch.ops.aten

SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e-40, -1e-40, 1e38, -1e38, float("inf"), -float("inf"), float("nan")]
POINTWISE: dict[str, Callable[..., Tensor]] = {
    "add": lambda a, b, c: a + b,
    "add a number": lambda a, b, c: a + 0.1,
    "sub": lambda a, b, c: a - b,
    "rsub": lambda a, b, c: 0.1 - a,
    "mul": lambda a, b, c: a * b,
    "mul by a number": lambda a, b, c: a * (1 / 3),
    "div": lambda a, b, c: a / b,
    "div by a number": lambda a, b, c: a / 3,
    "neg": lambda a, b, c: -a,
    "abs": lambda a, b, c: a.abs(),
    "rsqrt": lambda a, b, c: a.abs().rsqrt(),
    "reciprocal": lambda a, b, c: a.reciprocal(),
    "sign": lambda a, b, c: a.sign(),
    "sgn": lambda a, b, c: a.sgn(),
    "first power": lambda a, b, c: aten.pow.Tensor_Scalar(a, 1),
    "square": lambda a, b, c: a**2,
    "cube": lambda a, b, c: a**3,
    "relu": lambda a, b, c: a.relu(),
    "relu, backward": lambda a, b, c: aten.threshold_backward(a, b, 0),
    "leaky relu": lambda a, b, c: nn.functional.leaky_relu(a, 0.2),
    "leaky relu, backward": lambda a, b, c: aten.leaky_relu_backward(a, b, 0.2, False),
    "clamp from below": lambda a, b, c: aten.clamp_min(a, 0.3),
    "clamp from above": lambda a, b, c: aten.clamp_max(a, 0.3),
    "maximum": lambda a, b, c: torch.maximum(a, b),
    "minimum": lambda a, b, c: torch.minimum(a, b),
    "sigmoid, backward": lambda a, b, c: aten.sigmoid_backward(a, b),
    "tanh, backward": lambda a, b, c: aten.tanh_backward(a, b),
    "squared error": lambda a, b, c: aten.mse_loss(a, b, 0),
    "addcmul": lambda a, b, c: torch.addcmul(a, b, c, value=0.7),
    "addcdiv": lambda a, b, c: torch.addcdiv(a, b, c, value=0.7),
    "lerp": lambda a, b, c: torch.lerp(a, b, c),
    "where": lambda a, b, c: torch.where(a > b, b, c),
    "masked fill": lambda a, b, c: a.masked_fill(b > c, 0.1),
    **{
        f"{each.__name__}": lambda a, b, c, each=each: each(a, b)  # type: ignore[misc]
        for each in (torch.eq, torch.ne, torch.lt, torch.le, torch.gt, torch.ge)
    },
    **{
        f"{each.__name__} a number": lambda a, b, c, each=each: each(a, 0.5)  # type: ignore[misc]
        for each in (torch.eq, torch.ne, torch.lt, torch.le, torch.gt, torch.ge)
    },
    "and": lambda a, b, c: (a > b).logical_and(b > c),
    "or": lambda a, b, c: (a > b).logical_or(b > c),
    "not": lambda a, b, c: (a > b).logical_not(),
}


@pytest.fixture(autouse=True)
def one_thread(compiled_at_once: None) -> Iterator[None]:
    with steady():
        yield


def compiled(function: Callable[..., Any], *inputs: Tensor) -> Program:
    """The program of a function, once kernels have taken over."""
    made = of_graph(make_fx(lambda *given: function(*given))(*inputs), Heat(), "function")
    made(*inputs)
    assert made.compiled
    return made


def same(one: Tensor, other: Tensor) -> bool:
    bits = {torch.float32: torch.int32, torch.float64: torch.int64}.get(one.dtype, one.dtype)
    equal = (one.contiguous().view(bits) == other.contiguous().view(bits)) | (one.isnan() & other.isnan())
    return one.dtype == other.dtype and one.stride() == other.stride() and bool(equal.all())


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers of every size, special ones among them."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    values = values * 10.0 ** torch.randint(-3, 4, shape, generator=generator)
    chosen = torch.randint(0, 5 * len(SPECIAL), shape, generator=generator)
    for number, special in enumerate(SPECIAL):
        values[chosen == number] = special
    return values.to(dtype)


@cache
def results(dtype: torch.dtype) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What kernels and torch give for every operation."""
    inputs = [numbers(64, 9, 32, seed=seed, dtype=dtype) for seed in range(3)]

    def function(*given: Tensor) -> list[Tensor]:
        return [each(*given) for each in POINTWISE.values()]

    found, expected = compiled(function, *inputs)(*inputs), function(*inputs)
    return dict(zip(POINTWISE, found, strict=True)), dict(zip(POINTWISE, expected, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", POINTWISE)
def test_a_kernel_gives_the_bits_of_the_operation(name: str, dtype: torch.dtype) -> None:
    found, expected = results(dtype)

    assert same(found[name], expected[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_no_operation_is_left_to_torch_on_any_processor(dtype: torch.dtype, caplog: pytest.LogCaptureFixture) -> None:
    inputs = [numbers(64, 9, 32, seed=seed, dtype=dtype) for seed in range(3)]

    with caplog.at_level(logging.INFO, logger="shoal"):
        compiled(lambda *given: [each(*given) for each in POINTWISE.values()], *inputs)

    assert caplog.messages == ["The function goes on compiled"]


def test_every_operation_with_an_expression_is_compared_with_torch() -> None:
    inputs = [numbers(4, 32, seed=seed) for seed in range(3)]
    traced = [make_fx(lambda *given, f=function: f(*given))(*inputs).graph for function in POINTWISE.values()]
    compared = {node.target for graph in traced for node in graph.nodes if node.op == "call_function"}

    # torch writes those with a number of the same effect as the others
    assert {each.overloadpacket for each in operations._EXPRESSIONS} <= {each.overloadpacket for each in compared}


CHAINS: dict[str, Callable[..., Any]] = {
    "two results": lambda a, b, c: ((a + b) * c, a + b),
    "read and written": lambda a, b, c: ((a * b).relu() - c, (a * b).sum(1)),
    "through a product": lambda a, b, c: torch.bmm((a * 2 + b).relu(), (c + 1).transpose(1, 2)) / 3 + 1,
    "of a turned one": lambda a, b, c: (a.transpose(1, 2) * 2 + b.transpose(1, 2)).sum(2),
    "of a spread one": lambda a, b, c: (a[:, :1].expand(8, 24, 32) + b) * c,
    "flags": lambda a, b, c: torch.where((a > b) & (b > c), a, b) * 2,
    "what is turned and itself": lambda a, b, c: (
        (torch.bmm(a, b.transpose(1, 2)) + 1).mul(2) + torch.bmm(a, b.transpose(1, 2)).transpose(1, 2)
    ),
    "with a function of the library": lambda a, b, c: torch.tanh(a * b + 1) * c + 1,
}


@pytest.mark.parametrize("chain", CHAINS)
def test_chains_of_operations_keep_their_bits_and_their_inputs(chain: str) -> None:
    inputs = [numbers(8, 24, 32, seed=seed) for seed in range(3)]
    before = [each.clone() for each in inputs]

    made = compiled(CHAINS[chain], *inputs)

    for _ in range(2):
        found, expected = made(*inputs), CHAINS[chain](*inputs)
        pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
        assert all(same(one, other) for one, other in pairs)
    assert all(same(one, other) for one, other in zip(inputs, before, strict=True))


@settings(max_examples=25)
@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    kept=st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=2, max_size=2),
    order=st.randoms(use_true_random=False),
)
def test_operands_may_be_spread_and_lie_in_any_order(shape: list[int], kept: list[list[bool]], order: Any) -> None:
    def operand(seed: int, keeps: list[bool]) -> Tensor:
        sizes = [size if keep else 1 for size, keep in zip(shape, keeps, strict=False)]
        dims = list(range(len(shape)))
        order.shuffle(dims)
        back = [dims.index(dim) for dim in range(len(shape))]
        return numbers(*(sizes[dim] for dim in dims), seed=seed).permute(back)

    def function(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return (a + b) * c - b

    inputs = [operand(0, [True] * 4), *(operand(seed, keeps) for seed, keeps in enumerate(kept, 1))]
    made = of_graph(make_fx(function)(*inputs), Heat(), "function")
    made(*inputs)

    assert made.compiled
    assert same(made(*inputs), function(*inputs))


def test_results_may_be_written_over_inputs_that_are_done_with() -> None:
    def function(params: Tensor, grads: Tensor) -> None:
        params.copy_(params * 0.9 - grads.square() / (1 + params.abs()))

    from torch.func import functionalize

    inputs = [numbers(4, 64, seed=seed) for seed in range(2)]
    made = Program(
        function, lambda given: make_fx(functionalize(function))(*(each.clone() for each in given)), Heat(), "function"
    )
    made(*(each.clone() for each in inputs))
    place, expected = inputs[0].clone(), inputs[0].clone()

    made(place, inputs[1])
    function(expected, inputs[1])

    assert made.compiled
    assert same(place, expected)


def test_a_kernel_that_rounds_otherwise_than_this_processor_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = not operations._rounds_once()
    monkeypatch.setattr(operations, "_rounds_once", lambda: other)
    inputs = [numbers(8, 32, seed=seed) for seed in range(3)]

    def function(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return torch.tanh(torch.addcmul(a, b, c) * 2) * 3 + a

    with caplog.at_level(logging.INFO, logger="shoal"):
        made = compiled(function, *inputs)

    left = "Left to torch, because other bits would come of compiling it: addcmul_mul"
    assert caplog.messages == [left, "The function goes on compiled"]
    assert same(made(*inputs), function(*inputs))


def test_a_kernel_with_other_bits_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(operations._EXPRESSIONS, aten.add.Tensor, "{b} + {a} + {b} - {b}")
    inputs = [numbers(8, 32, seed=seed) for seed in range(3)]

    def function(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return torch.tanh((a + b) * c) * 2 - c

    with caplog.at_level(logging.INFO, logger="shoal"):
        made = compiled(function, *inputs)

    assert "Left to torch, because other bits would come of compiling it: add" in caplog.text
    assert same(made(*inputs), function(*inputs))


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "shoal" / "kernels").iterdir())


def test_kernels_are_tried_once_unless_what_is_kept_of_it_is_damaged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tried: list[Kernel] = []
    agrees = Kernel.agrees
    monkeypatch.setattr(Kernel, "agrees", lambda self, values: tried.append(self) or agrees(self, values))
    inputs = [numbers(8, 32, seed=seed) for seed in range(3)]

    def function(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return torch.tanh((a + b) * c) * 2 - c

    counts, results = [], []
    for _ in range(3):
        results.append(compiled(function, *inputs)(*inputs))
        counts.append(len(tried))
        if len(counts) == 2:
            for path in (tmp_path / "shoal" / "exact").iterdir():
                path.write_text(path.read_text().replace("true", "True"))

    assert 0 < counts[0] == counts[1] < counts[2]
    assert all(same(result, function(*inputs)) for result in results)


def test_a_kernel_that_is_wrong_for_special_numbers_alone_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(operations._EXPRESSIONS, aten.maximum.default, "{a} > {b} ? {a} : {b}")
    inputs = [torch.rand(8, 32) + each for each in range(2)]

    def function(a: Tensor, b: Tensor) -> Tensor:
        return torch.tanh(torch.maximum(a, b) * 2) * 2 - b

    with caplog.at_level(logging.INFO, logger="shoal"):
        compiled(function, *inputs)

    assert "Left to torch, because other bits would come of compiling it: maximum_mul" in caplog.text


@pytest.mark.parametrize("damage", [lambda whole: whole[:1000], lambda whole: whole[:-8] + bytes(8), lambda whole: b""])
def test_a_kept_library_that_was_damaged_is_made_anew(
    damage: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inputs = [numbers(8, 32, seed=seed) for seed in range(2)]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "one"))
    compiled(lambda a, b: (a + b) * b, *inputs)
    whole = kept(tmp_path / "one")
    for each in whole:
        damaged = tmp_path / "two" / "shoal" / "kernels" / each.name
        damaged.parent.mkdir(parents=True, exist_ok=True)
        damaged.write_bytes(damage(each.read_bytes()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "two"))

    made = compiled(lambda a, b: (a + b) * b, *inputs)

    assert same(made(*inputs), (inputs[0] + inputs[1]) * inputs[1])
    assert [each.read_bytes() for each in kept(tmp_path / "two")] == [each.read_bytes() for each in whole]


def test_the_next_process_finds_what_one_has_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    inputs = [numbers(8, 32, seed=seed) for seed in range(2)]
    compiled(lambda a, b: (a - b) * b, *inputs)
    made = [each.stat().st_mtime_ns for each in kept(tmp_path)]

    again = of_graph(make_fx(lambda a, b: (a - b) * b)(*inputs), Heat(), "function")
    again(*inputs)

    assert again.compiled
    assert len(made) == 2  # the loops of this graph, and what every graph has
    assert [each.stat().st_mtime_ns for each in kept(tmp_path)] == made


def wide(seed: int) -> nn.Module:
    return MLP(hidden=(40, 33)).build(inputs=1, outputs=1, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_compiled_kernels_take_over_without_changing_a_bit(
    optimizer: Callable[[int], Optimizer], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as never:
        never.setattr(program, "HOT", math.inf)
        by_torch, _ = trained(range(20), optimizer, steps=40, build=wide)

    with caplog.at_level("INFO", logger="shoal"):
        by_kernels, _ = trained(range(20), optimizer, steps=40, build=wide)

    assert caplog.messages == ["The training step goes on compiled", "The optimizer's update goes on compiled"]
    assert torch.equal(by_kernels.params, by_torch.params)
    assert all(torch.equal(by_kernels.state[name], by_torch.state[name]) for name in by_torch.state)
