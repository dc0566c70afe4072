"""Operations that torch's mapping over runs cannot take, or takes for each run: in a stack as alone, to the bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from shoal.step.clock import Clock
from shoal.step.drawn.keys import StepKeys
from shoal.step.mapped import Mapped
from shoal.step.recurrent import own_weights
from shoal.step.stepped import Outcome, Stepped
from shoal.step.unfit import CannotStackError

Given = Tensor
X = torch.linspace(-1, 1.3, 48).view(4, 12)
PLACES = torch.tensor([[0, 2, 1, 3, 2, 2, 0, 1, 3, 3, 1, 0]]).expand(4, 12)


def filled(x: Given) -> Tensor:
    found = torch.zeros(4, 12)
    for row in range(4):
        found[row] = x[row] * row
    return found


def counted(x: Given) -> Tensor:
    found = torch.empty(3).fill_(2.0)
    found += x.sum()
    table = torch.ones(5, dtype=torch.float32)
    table[1:3] = x[0, :2]
    return found.sum() * table


def flagged(x: Given) -> Tensor:
    found = x.clone()
    found[x < 0] = 0.5
    found[x[:, 0] > 0] = x.sum()
    return found


def chosen(x: Given) -> Tensor:
    flags, rows = x > 0, x[:, 0] < 0
    parts = [
        *(x[flags], x[rows, 1:], x[rows], x[1, flags[1]], x[x > 9]),
        *(x.masked_select(flags[:1]), torch.masked_select(x, rows[:, None])),
        *(x.flatten()[flags.flatten().nonzero().squeeze(1)], x[torch.where(flags)], x[rows.nonzero(as_tuple=True)]),
    ]
    return torch.stack([each.square().sum() for each in parts])


def placed(x: Given) -> Tensor:
    own = (x[0, :4] * 0).long() + torch.tensor([4, 0, 7, 1])  # as many as there are rows
    found = x.clone()
    found[:, own] = x[:, own] * 2
    found[..., own[:3] + 1] = x[:, :1]
    found[:, own + 4] = 3.0
    return found


def looked(x: Given) -> Tensor:
    seen = x.view(2, 2, 3, 4)
    flags = torch.ones(3, 3, dtype=torch.bool).tril()
    flags[1] = False  # this one sees nothing
    given: list[dict[str, Any]] = [
        {},
        {"is_causal": True, "scale": 0.3},
        {"attn_mask": flags},
        {"attn_mask": seen[0, 0, :, :3]},
    ]
    return torch.stack([functional.scaled_dot_product_attention(seen, seen + 1, seen, **each) for each in given])


def averaged(x: Given) -> Tensor:
    means, now = [x * 0 + 1, x * 0 + 2], [x, x.square()]
    torch._foreach_mul_(means, 0.9)
    torch._foreach_add_(means, now, alpha=0.1)
    torch._foreach_lerp_(means, now, 0.5)
    return torch.cat(torch._foreach_mul(means, now))


def behind(x: Given) -> Tensor:
    kept = torch.zeros(4, 12)
    kept.data = kept.data + x.data
    kept.data.clamp_(-0.5, 0.5)
    return x * kept + x.data


MADE: dict[str, Callable[[Given], Tensor]] = {
    "rows of a new tensor": filled,
    "new tensors": counted,
    "flags": flagged,
    "places of its own": placed,
    "chosen by flags": chosen,
    "scattered": lambda x: torch.zeros_like(x).scatter_(0, PLACES, x),
    "scattered numbers": lambda x: x.clone().scatter_(0, PLACES, 2.0) * x,
    "clamped": lambda x: x.clone().clamp_(-0.5, 0.5).lerp_(x, 0.3).addcmul_(x, x, value=2),
    "summed": lambda x: x.clone().cumsum_(1).tril_(),
    "seen otherwise": lambda x: functional.conv2d(x.view(4, 1, 3, 4), KERNEL).view(4, -1) * 2,
    "attention": looked,
    "lists": averaged,
    "data": behind,
    "classes": lambda x: functional.one_hot((x.detach() > 0).sum(1), 13)[:, :12] * x,
    "a choice": lambda x: functional.gumbel_softmax(x, hard=True) * 0 + x,
}
KERNEL = torch.linspace(-1, 1, 12).view(3, 1, 2, 2)
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "gru": lambda: nn.GRU(3, 4),
    "gru both ways": lambda: nn.GRU(3, 2, num_layers=2, bidirectional=True, batch_first=True, bias=False),
    "rnn": lambda: nn.RNN(3, 4, num_layers=2),
    "rnn relu": lambda: nn.RNN(3, 4, nonlinearity="relu"),
    "cells": lambda: nn.GRUCell(3, 4),
}


def mapped(function: Callable[[Any, Tensor], Tensor], params: dict[str, Tensor], x: Tensor, runs: int) -> Stepped:
    def step(params: Any, buffers: Any, batch: Any, clock: Clock) -> Outcome:
        with clock.drawing():
            return Outcome(function(params, batch).square().mean(), {}, {})

    stacked = {name: torch.stack([value * (1 + run / 10) for run in range(runs)]) for name, value in params.items()}
    clock = Clock(keys=StepKeys(range(runs)))
    return Mapped(step, traced=False)(stacked, {}, x.expand(runs, *x.shape).contiguous(), clock)


def agrees(function: Callable[[Any, Tensor], Tensor], params: dict[str, Tensor], x: Tensor) -> None:
    many, two = (mapped(function, params, x, runs) for runs in (4, 2))

    for run in range(2):
        own = {name: (value * (1 + run / 10)).requires_grad_() for name, value in params.items()}
        loss = function(own, x).square().mean()
        grads = torch.autograd.grad(loss, list(own.values()))
        torch.testing.assert_close(many.losses[run], loss)
        for mine, other in zip(many.grads, grads, strict=True):
            torch.testing.assert_close(mine[run], other)
    assert torch.equal(many.losses[:2], two.losses)
    assert all(torch.equal(mine[:2], other) for mine, other in zip(many.grads, two.grads, strict=True))


@pytest.mark.parametrize("name", MADE)
def test_what_writes_in_place_or_looks_otherwise_is_mapped(name: str) -> None:
    agrees(lambda params, x: MADE[name](x * params["w"]), {"w": torch.linspace(0.5, 1.5, 12)}, X)


def test_a_class_beyond_those_of_a_step_is_no_class_in_a_stack_either() -> None:
    found = mapped(
        lambda params, x: functional.one_hot((x * params["w"] > 0).sum(1), 3).double(), {"w": torch.ones(12)}, X, 2
    )

    with pytest.raises(CannotStackError, match="classes beyond those of its one_hot"):
        found.check([True, True])


@pytest.mark.parametrize("name", LAYERS)
def test_recurrent_layers_are_mapped(name: str) -> None:
    torch.manual_seed(0)
    layers = LAYERS[name]()
    params = {name: param.detach().clone() for name, param in layers.named_parameters()}
    x = torch.randn(5, 3) if name == "cells" else torch.randn(6, 5, 3)

    def function(params: Any, x: Tensor) -> Tensor:
        found = functional_call(layers, params, (x,))
        return found if isinstance(found, Tensor) else found[0] * found[1].sum()

    with own_weights(layers):
        agrees(function, params, x)

    assert all(
        mine is own for mine, own in zip(getattr(layers, "_flat_weights", ()), layers.parameters(), strict=False)
    )


def test_a_step_that_branches_on_what_follows_from_sizes_is_traced() -> None:
    def step(params: Any, buffers: Any, batch: Any, clock: Clock) -> Outcome:
        mask, later = torch.ones(4, 4).triu(1), torch.zeros(4, 4)
        later[:, 1:] += torch.ones(3, 3).triu()[0].new_ones(4, 3)
        mask = mask.float().masked_fill(mask == 1, -torch.inf)
        factor = 2.0 if bool((mask == mask.clone()).all()) and later.sum().item() == 12 else 1.0
        return Outcome((params["w"] * batch).square().sum() * factor, {}, {})

    traced = Mapped(step)
    params, x = {"w": torch.linspace(0.5, 1.5, 12).repeat(2, 1)}, X.expand(2, 4, 12).contiguous()

    found = traced(params, {}, x, Clock())

    assert traced.refused is None
    assert torch.equal(found.losses, traced.anew(params, {}, x, Clock()).losses)


def test_a_step_that_walks_along_times_of_its_own_is_traced() -> None:
    def step(params: Any, buffers: Any, batch: Any, clock: Clock) -> Outcome:
        with clock.drawing():
            times, found, n = torch.linspace(0, 1, 4).to(batch), torch.empty(4, *batch.shape), 1
            assert (times[1:] > times[:-1]).all()
            found[0] = params["w"] * batch
            begins, ends = times[:-1], times[1:]
            for before, time in zip(begins, ends, strict=True):
                while n < len(times) and time >= times[n]:
                    found[n] = found[n - 1] * (1 + time - before)
                    n += 1
        return Outcome(found.square().sum(), {}, {})

    traced = Mapped(step)
    params, x = {"w": torch.linspace(0.5, 1.5, 12).repeat(2, 1)}, X.expand(2, 4, 12).contiguous()

    found = traced(params, {}, x, Clock(keys=StepKeys(range(2))))

    assert traced.refused is None
    expected = (params["w"][0] * X).square().sum() * sum((4 / 3) ** (2 * n) for n in range(4))
    torch.testing.assert_close(found.losses[0], expected)


def test_a_step_that_branches_on_its_batch_is_not_traced() -> None:
    def step(params: Any, buffers: Any, batch: Any, clock: Clock) -> Outcome:
        seen = torch.zeros(4, 12) + batch
        return Outcome((params["w"] * batch).sum() * (2.0 if seen.sum().item() > 0 else 1.0), {}, {})

    traced = Mapped(step)

    with pytest.raises(RuntimeError, match="item"):
        traced({"w": torch.ones(2, 12)}, {}, X.expand(2, 4, 12).contiguous(), Clock())

    assert traced.refused


def test_a_batch_is_as_it_was_after_a_step_that_looks_up_its_places() -> None:
    def step(params: Any, buffers: Any, batch: Any, clock: Clock) -> Outcome:
        places, shift = batch
        found = (params["w"] * 2).gather(0, places).sum()
        return Outcome(found, {"later": (places + shift).sum()}, {})

    places = PLACES[0, :4].repeat(2, 1)

    Mapped(step, gradients=False)({"w": torch.rand(2, 4)}, {}, [places, places + 1], Clock())

    assert torch.equal(places[0], PLACES[0, :4])
