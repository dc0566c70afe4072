"""Linear regression on data with known weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, MinLen
from jaxtyping import Float
from torch import Tensor, nn

from shoal.seeding import Stream, generator
from shoal.tasks.data import Data
from shoal.tasks.task import Count, Domain
from shoal.tasks.validated import Validated


@dataclass(frozen=True, kw_only=True)
class LinearRegression(Validated):
    """y = weights . x + bias + noise; x is drawn before the noise, both from one generator."""

    weights: Annotated[tuple[float, ...], MinLen(1)] = (2.0,)
    """True weights, one for each input."""
    bias: float = 1.0
    """True bias."""
    n_samples: Count = 100
    """Samples in all, training and validation together."""
    noise: Annotated[float, Ge(0)] = 0.1
    """Standard deviation of the normal noise on y."""
    domain: Domain | None = None
    """Interval the inputs are drawn from; standard normal where null."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.fits(self.n_train(self.n_samples))

    @property
    def inputs(self) -> int:
        return len(self.weights)

    @property
    def outputs(self) -> int:
        return 1

    def truth(self, x: Float[Tensor, "samples features"]) -> Float[Tensor, "samples outputs"]:
        return x @ torch.tensor(self.weights, dtype=x.dtype)[:, None] + self.bias

    def recorded(self, model: nn.Module) -> Mapping[str, Tensor]:
        """Learned weights and bias, where the model is affine."""
        if not isinstance(model, nn.Linear):
            return {}
        names = ["weight"] if self.inputs == 1 else [f"weight{i + 1}" for i in range(self.inputs)]
        return dict(zip(names, model.weight[0], strict=True)) | {"bias": model.bias[0]}

    def data(self) -> Data:
        drawn = generator(self.seed, Stream.DATA)
        shape = (self.n_samples, self.inputs)
        if self.domain is None:
            x = torch.randn(shape, generator=drawn)
        else:
            low, high = self.domain
            x = torch.rand(shape, generator=drawn) * (high - low) + low
        y = self.truth(x)
        y = y + self.noise * torch.randn(y.shape, generator=drawn)
        train, val, test = self.split(x, y)
        names = ("x",) if self.inputs == 1 else tuple(f"x{i + 1}" for i in range(self.inputs))
        return Data(train, val, features=names, targets=("y",), test=test)
