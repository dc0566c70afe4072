"""Any module class of torch's or the user's own, named by its class."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from shoal.models.model import Model


@dataclass(frozen=True, kw_only=True)
class TorchModel(Model):
    """A module class with its settings; it is told `inputs` and `outputs` where its constructor has such parameters.

    It draws its first weights from torch's global generator, which is seeded for it from `generator`.
    """

    cls: Callable[..., nn.Module]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def build(self, *, inputs: int, outputs: int, generator: torch.Generator) -> nn.Module:
        # Told only to who asks: most of torch's own modules are called otherwise.
        known = inspect.signature(self.cls).parameters
        sizes = {name: n for name, n in (("inputs", inputs), ("outputs", outputs)) if name in known}
        # Whatever the constructor draws, the global generator stands where it stood; it is built on the CPU.
        with torch.random.fork_rng(devices=[]):
            # Within the fork: the class can be handed no generator.
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            return self.cls(**{**sizes, **self.settings})
