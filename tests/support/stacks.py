"""Stacks of small networks that train without a Trainer: the core of the vectorized engine by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from shoal.engines.stack.clipping import GradientLimits
from shoal.engines.stack.epoch import Training
from shoal.engines.stack.epoch_history import EpochHistory
from shoal.engines.stack.stack import Stack
from shoal.models import MLP
from shoal.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from shoal.step.clock import Clock
from shoal.step.mapped import Mapped
from shoal.step.stepped import Outcome

Build = Callable[[int], nn.Module]

BATCH = 24

OPTIMIZERS: dict[str, Callable[[int], Optimizer]] = {
    "sgd": lambda i: SGD(lr=0.01 * (1 + i % 3)),
    "momentum": lambda i: SGD(lr=0.01, momentum=(0.0, 0.5, 0.9)[i % 3], weight_decay=(0.0, 0.01)[i % 2]),
    "nesterov": lambda i: SGD(lr=0.01, momentum=0.9, nesterov=i % 2 == 0),
    "adam": lambda i: Adam(lr=1e-3 * (1 + i % 3), beta1=(0.9, 0.8)[i % 2], eps=(1e-8, 1e-6)[i % 2]),
    "adam with weight decay": lambda i: Adam(lr=1e-3, weight_decay=(0.0, 0.01)[i % 2]),
    "adamw": lambda i: AdamW(lr=1e-3, weight_decay=0.01 * (i % 3)),
    "rmsprop": lambda i: RMSprop(lr=1e-3, alpha=(0.99, 0.95)[i % 2], momentum=(0.0, 0.5)[i % 2]),
}


def mlp(seed: int) -> nn.Module:
    return MLP(hidden=(16, 9)).build(inputs=1, outputs=1, generator=torch.Generator().manual_seed(seed))


def squared_error(module: nn.Module) -> Callable[..., Outcome]:
    def step(params: Any, buffers: Any, batch: Any, clock: Clock) -> Outcome:
        x, y = batch
        new = {name: value.clone() for name, value in buffers.items()}
        loss = nn.functional.mse_loss(functional_call(module, {**params, **new}, (x,)), y)
        return Outcome(loss, {"train/loss": loss.detach()}, new)

    return step


@cache
def mapped_mlp(accumulate: int, traced: bool) -> Mapped:
    """One for all stacks of such networks, as in a sweep: it is traced once for each of their shapes."""
    return Mapped(squared_error(mlp(0)), share=1 / accumulate, traced=traced)


def samples(seed: int, n_batches: int, dtype: torch.dtype = torch.float32) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1000 + seed)
    x = torch.rand(n_batches, BATCH, 1, generator=generator, dtype=torch.float64) * 2 - 1
    return [(one.to(dtype), one.to(dtype) ** 2) for one in x]


def stacked(data: Sequence[Sequence[Any]]) -> list[tuple[Tensor, Tensor]]:
    return [
        (torch.stack([x for x, _ in batch]), torch.stack([y for _, y in batch])) for batch in zip(*data, strict=True)
    ]


def columns(values: Sequence[float]) -> Tensor:
    return torch.tensor([[value] for value in values], dtype=torch.float64)


def trained(
    seeds: Sequence[int],
    optimizer: Callable[[int], Optimizer],
    *,
    steps: int,
    build: Build = mlp,
    dtype: torch.dtype = torch.float32,
    limits: GradientLimits | None = None,
    data: Callable[[int], list[Any]] | None = None,
    accumulate: int = 1,
    traced: bool = True,
) -> tuple[Stack, EpochHistory]:
    """A stack of runs, one for each seed, after `steps` batches; each run's numbers come from its seed alone."""
    modules = [build(seed).to(dtype) for seed in seeds]
    optimizers = [optimizer(seed) for seed in seeds]
    rule = optimizers[0].stacked()
    assert rule is not None
    stack = Stack.of(modules, rule, rule.columns(optimizers), limits=limits)
    filled = [*seeds, *[seeds[-1]] * (len(stack) - len(seeds))]
    batches = stacked([(data or (lambda seed: samples(seed, steps, dtype)))(seed) for seed in filled])
    mapped = mapped_mlp(accumulate, traced) if build is mlp else Mapped(squared_error(modules[0]), traced=traced)
    lrs = [columns([optimizer(seed).lr for seed in filled])]  # type: ignore[attr-defined]
    training = Training(stack, mapped, accumulate=accumulate)
    history = training.epoch(batches, lrs, Clock(), n_batches=len(batches))
    assert mapped.refused is None
    return stack, history
