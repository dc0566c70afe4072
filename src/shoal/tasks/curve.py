"""Tasks that draw samples of a known function and add noise."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor

from shoal.errors import ConfigError
from shoal.seeding import Stream, generator
from shoal.tasks.data import Data, split
from shoal.tasks.task import Count, Domain, Fraction, Task


@dataclass(frozen=True, kw_only=True)
class Curve(Task):
    """y = truth(x) + noise with x uniform on an interval."""

    n_samples: Count = 2048
    """Samples in all, training and validation together."""
    noise: Annotated[float, Ge(0)] = 0.03
    """Standard deviation of the normal noise on y."""
    domain: Domain = (-1.0, 1.0)
    """Interval the inputs are drawn from."""
    val_fraction: Fraction = 0.2
    """Share of the samples kept for validation."""

    def __post_init__(self) -> None:
        low, high = self.domain
        if not low < high:
            raise ConfigError("domain", list(self.domain), "must rise", hint="for example task.domain=[-1,1]")
        self.fits(self.n_samples - round(self.n_samples * self.val_fraction))

    @property
    def inputs(self) -> int:
        return 1

    @property
    def outputs(self) -> int:
        return 1

    @abstractmethod
    def truth(self, x: Float[Tensor, "samples features"]) -> Float[Tensor, "samples outputs"]:
        """The function without noise."""

    def data(self) -> Data:
        drawn = generator(self.seed, Stream.DATA)
        low, high = self.domain
        x = torch.rand(self.n_samples, self.inputs, generator=drawn) * (high - low) + low
        y = self.truth(x)
        y = y + self.noise * torch.randn(y.shape, generator=drawn)
        train, val = split(x, y, val_fraction=self.val_fraction, seed=self.seed)
        return Data(train, val, features=("x",), targets=("y",))
