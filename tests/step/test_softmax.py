"""Softmax of shoal's own: torch's numbers to the bit, for rows of every length."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from shoal.engines.stack.steady import steady
from shoal.step.compiled import softmax
from shoal.step.compiled.program import Heat, of_graph
from shoal.step.exact.rows import same_bits
from shoal.step.traced import traced

aten = torch.ops.aten
RUNS, ROWS = 3, 5

FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "softmax": lambda x, y: aten._softmax(x, -1, False),
    "log softmax": lambda x, y: aten._log_softmax(x, 3, False),
    "softmax, backward": lambda x, y: aten._softmax_backward_data(x, y, 3, x.dtype),
    "log softmax, backward": lambda x, y: aten._log_softmax_backward_data(x, y, -1, x.dtype),
}
WIDTHS = [1, 2, 3, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 47, 48, 65, 100, 512]


@pytest.fixture(autouse=True)
def one_thread(compiled_at_once: None) -> Iterator[None]:
    with steady():
        yield


def numbers(width: int, seed: int) -> Tensor:
    """Rows of numbers of every size: in some of them one is infinite or none."""
    drawn = torch.Generator().manual_seed(seed)
    values = torch.randn(RUNS, 2, ROWS, width, generator=drawn) * 10.0 ** torch.arange(-3, 2)[:, None]
    values[0, 0, :, 0] = torch.tensor([torch.inf, -torch.inf, torch.nan, 1e38, -0.0])
    return values


@pytest.mark.parametrize("name", FUNCTIONS)
def test_softmax_has_torchs_bits_whatever_the_length_of_its_rows(name: str) -> None:
    inputs = [numbers(width, seed) for width in WIDTHS for seed in (0, 1)]

    def function(*given: Tensor) -> list[Tensor]:
        return [FUNCTIONS[name](x, y) for x, y in zip(given[::2], given[1::2], strict=True)]

    program = of_graph(traced(function, inputs), Heat(), "function")
    program(*inputs)

    assert all(map(same_bits, program(*inputs), function(*inputs)))
    other = [numbers(width, seed) for width in WIDTHS for seed in (2, 3)]
    assert all(map(same_bits, program(*other), function(*other)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_where_torchs_vectors_are_known_no_softmax_is_left_to_it(name: str) -> None:
    inputs = [numbers(8, 0), numbers(8, 1)]
    program = of_graph(traced(FUNCTIONS[name], inputs), Heat(), "function")

    program(*inputs)

    [node] = [each for each in traced(FUNCTIONS[name], inputs).graph.nodes if each.op == "call_function"]
    values = dict(zip(node.all_input_nodes, inputs, strict=False)) | {node: FUNCTIONS[name](*inputs)}
    assert program.compiled == bool(list(softmax.found(node, values)))


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: aten._softmax(x, 2, False),
        lambda x, y: aten._softmax_backward_data(x, x, 3, torch.float32),
        lambda x, y: aten._log_softmax(x.mT, 3, False),
        lambda x, y: aten._softmax(x.double(), 3, False),
    ],
    ids=["another dimension", "by itself", "rows with gaps", "double precision"],
)
def test_softmax_of_another_kind_is_left_to_torch(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    inputs = [numbers(8, 0), numbers(8, 1)]
    program = of_graph(traced(function, inputs), Heat(), "function")

    program(*inputs)

    assert program.settled
    assert not program.compiled
