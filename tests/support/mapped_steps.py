"""Steps of small networks mapped over two runs, beside those of each run alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from shoal.step.captured import CapturedStep
from shoal.step.clock import Clock
from shoal.step.mapped import Mapped
from shoal.step.stepped import Stepped


class Stepping(pl.LightningModule):
    """A network whose loss is what a function makes of it and of its samples."""

    def __init__(self, of: Callable[..., Tensor], seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.of = of
        self.net = nn.Sequential(nn.Linear(2, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 2)).double()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.of(self.net, *batch)


def stepped(
    of: Callable[..., Tensor], change: Callable[[Any], object] = bool
) -> tuple[Mapped, Stepped, list[Stepping], Any]:
    """A step, what it gives of a batch, the modules of the two runs, whose networks were changed, and the batch."""
    modules = [Stepping(of, seed) for seed in (0, 1)]
    for each in modules:
        change(each.net)
    params = {
        name: torch.stack([dict(each.named_parameters())[name].detach() for each in modules])
        for name, _ in modules[0].named_parameters()
    }
    batch = tuple(torch.rand(2, 5, 1, dtype=torch.float64) for _ in range(2))
    mapped = Mapped(CapturedStep(modules[0], "train"))
    mapped.guard.on = False
    return mapped, mapped(params, {}, batch, Clock()), modules, batch


def assert_as_alone(found: Stepped, modules: Sequence[Stepping], batch: Any) -> None:
    for run, module in enumerate(modules):
        loss = module.of(module.net, *(each[run].clone() for each in batch))
        loss.backward()
        torch.testing.assert_close(found.losses[run], loss.detach())
        for one, param in zip(found.grads, module.parameters(), strict=True):
            torch.testing.assert_close(one[run], torch.zeros_like(param) if param.grad is None else param.grad)
