"""What a function of tensors does, as a graph: that of torch's own tracer, without what that imports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, functionalize, grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from shoal.step.passes import simplified
from shoal.step.traced import traced

RUNS = 3
OUTSIDE = torch.linspace(-1, 1, 4)
NUMBER = torch.tensor(2.0)


class Noting(nn.Module):
    """Counts its calls, and asks for numbers that follow from no input."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        factor = torch.tensor(0.5)
        x = self.norm(x) * (2.0 if (factor + 1).item() > 1 else 1.0)
        x[:, 0] = 0
        return (x + OUTSIDE) * NUMBER


class Attending(nn.Module):
    """An attention of one head, with a token of its own in front."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 4))
        self.turned = nn.Linear(4, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(x), 1, 4), x], dim=1)
        query, key, value = self.turned(x).chunk(3, dim=-1)
        return (query @ key.mT / 2).softmax(-1) @ value


MODELS: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "layers": lambda: (nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.LayerNorm(5), nn.GELU()), torch.rand(6, 4)),
    "convolutions": lambda: (
        nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 2)),
        torch.rand(5, 2, 6, 6),
    ),
    "attention": lambda: (Attending(), torch.rand(5, 3, 4)),
    "recurrent": lambda: (nn.GRUCell(4, 4), torch.rand(5, 4)),
    "buffers and constants": lambda: (Noting(), torch.rand(6, 4)),
}


def mapped(model: nn.Module) -> tuple[Callable[..., Any], list[Tensor]]:
    """Gradients, loss and buffers of runs with this model as a function of tensors, and parameters and buffers."""
    names = [name for name, _ in model.named_parameters()]
    held = [name for name, _ in model.named_buffers()]

    def alone(params: list[Tensor], buffers: list[Tensor], x: Tensor) -> tuple[Tensor, tuple[Tensor, list[Tensor]]]:
        given = dict(zip(held, [each.clone() for each in buffers], strict=True))
        out = functional_call(model, dict(zip(names, params, strict=True)) | given, (x,))
        loss = nn.functional.cross_entropy(out.flatten(1), x.flatten(1)[:, 0].long())
        return loss, (loss.detach(), list(given.values()))

    def flat(*given: Tensor) -> list[Tensor]:
        params, buffers = list(given[: len(names)]), list(given[len(names) : -1])
        grads, (loss, new) = vmap(grad(alone, has_aux=True))(params, buffers, given[-1])
        return [loss, *new, *grads]

    values = [each.detach() for each in (*model.parameters(), *model.buffers())]
    return flat, [each.expand(RUNS, *each.shape).clone() for each in values]


def by_torch(function: Callable[..., Any], inputs: list[Tensor]) -> Any:
    return make_fx(functionalize(lambda *given: function(*given)))(*inputs)


def told(module: Any) -> list[tuple[str, str, Any]]:
    """Each node, and shape, strides and type of what it gives."""
    values = [(node, node.meta.get("val")) for node in module.graph.nodes]
    return [
        (node.op, node.name, (value.shape, value.stride(), value.dtype) if isinstance(value, Tensor) else None)
        for node, value in values
    ]


@pytest.mark.parametrize("name", MODELS)
def test_a_trace_is_the_graph_that_torchs_own_tracer_makes(name: str) -> None:
    torch.manual_seed(0)
    model, x = MODELS[name]()
    function, values = mapped(model)
    inputs = [*values, x.expand(RUNS, *x.shape).clone()]

    found, expected = traced(function, inputs), by_torch(function, inputs)

    assert found.code == expected.code
    assert told(found) == told(expected)
    assert all(map(torch.equal, found(*inputs), function(*inputs)))


def test_writes_to_inputs_end_a_trace() -> None:
    def update(param: Tensor, grad: Tensor) -> None:
        param.mul_(0.9)
        param.add_(grad, alpha=-0.1)

    inputs = [torch.ones(3), torch.arange(3.0)]

    found = traced(update, [each.clone() for each in inputs])

    assert found.code == by_torch(update, [each.clone() for each in inputs]).code
    found(*inputs)
    assert torch.equal(inputs[0], torch.full((3,), 0.9).add_(inputs[1], alpha=-0.1))


def test_a_trace_in_inference_mode_is_the_one_outside_of_it() -> None:
    inputs = [torch.rand(4, 3), torch.rand(2, 3), torch.rand(2)]

    with torch.inference_mode():
        within = traced(nn.functional.linear, inputs)

    with torch.no_grad():
        assert within.code == traced(nn.functional.linear, inputs).code


def test_what_lies_otherwise_once_operations_are_left_out_can_be_viewed() -> None:
    def stacked(x: Tensor) -> Tensor:
        turned = x.view(3, 1, 1, 8).permute(0, 3, 1, 2)
        # As it is, torch would stack it with its channels last.
        plain = turned * torch.ones(3, 8, 1, 1)
        return torch.stack([plain, plain], 2).view(3, 16)

    x = torch.arange(24.0)

    found = simplified(traced(stacked, [x]))

    assert torch.equal(found(x), stacked(x))


@pytest.mark.parametrize("asks", [Tensor.item, bool], ids=["item", "bool"])
def test_what_asks_for_a_number_of_its_inputs_has_no_trace(asks: Callable[[Tensor], Any]) -> None:
    def asking(x: Tensor) -> Tensor:
        return x * 2 if asks(x.sum()) else x

    with pytest.raises(RuntimeError, match="asks for a number that depends on what is computed"):
        traced(asking, [torch.ones(3)])


def test_what_draws_from_a_generator_of_its_own_has_no_trace() -> None:
    generator = torch.Generator()

    with pytest.raises(RuntimeError, match="a trace holds no Generator"):
        traced(lambda x: x + torch.rand(3, generator=generator), [torch.ones(3)])
