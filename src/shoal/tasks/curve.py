"""Tasks that draw samples of a known function and add noise."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor

from shoal.errors import ConfigError
from shoal.seeding import Stream, generator
from shoal.tasks.data import Data
from shoal.tasks.measures import REGRESSION
from shoal.tasks.task import Count, Domain
from shoal.tasks.validated import Validated


@dataclass(frozen=True, kw_only=True)
class Surface(Validated):
    """y = truth(x) + noise with each input uniform on an interval of its own."""

    n_samples: Count = 2048
    """Samples in all, training and validation together."""
    noise: Annotated[float, Ge(0)] = 0.03
    """Standard deviation of the normal noise on y."""

    def __post_init__(self) -> None:
        super().__post_init__()
        # As early as possible: nothing has to be drawn to know it.
        self.fits(self.n_train(self.n_samples))

    @property
    @abstractmethod
    def intervals(self) -> Sequence[Domain]:
        """The interval that each input is drawn from."""

    @property
    @abstractmethod
    def features(self) -> tuple[str, ...]:
        """Name of each input."""

    @property
    def inputs(self) -> int:
        return len(self.features)

    @property
    def outputs(self) -> int:
        return 1

    @property
    def metric_names(self) -> tuple[str, ...]:
        return REGRESSION

    @abstractmethod
    def truth(self, x: Float[Tensor, "samples features"]) -> Float[Tensor, "samples outputs"]:
        """The function without noise."""

    def data(self) -> Data:
        x, noise = self.drawn()
        y = self.truth(x)
        # Targets of another form than they must have keep it, to be told: to a row a column of noise adds a square.
        train, val, test = self.split(x, y + (noise.view_as(y) if y.numel() == noise.numel() else noise))
        return Data(train, val, features=self.features, targets=("y",), test=test)

    def drawn(self) -> tuple[Float[Tensor, "samples features"], Float[Tensor, "samples outputs"]]:
        """The inputs of the samples, and the noise of their targets."""
        drawn = generator(self.seed, Stream.DATA)
        low = torch.tensor([low for low, _ in self.intervals])
        width = torch.tensor([high - low for low, high in self.intervals])
        # Before the noise, from the same generator: the order is part of what a seed means.
        x = torch.rand(self.n_samples, self.inputs, generator=drawn) * width + low
        return x, self.noise * torch.randn(self.n_samples, self.outputs, generator=drawn)


@dataclass(frozen=True, kw_only=True)
class Curve(Surface):
    """y = truth(x) + noise with x uniform on an interval."""

    domain: Domain = (-1.0, 1.0)
    """Interval the inputs are drawn from."""

    def __post_init__(self) -> None:
        super().__post_init__()
        rising(self.domain, self.domain)

    @property
    def intervals(self) -> Sequence[Domain]:
        return (self.domain,)

    @property
    def features(self) -> tuple[str, ...]:
        return ("x",)


def rising(interval: Domain, domain: object) -> None:
    """Check an interval of the setting `domain`.

    Raises:
        ConfigError: where it does not rise.
    """
    low, high = interval
    if not low < high:
        raise ConfigError("domain", domain, "must rise", hint="for example task.domain=[-1,1]")
