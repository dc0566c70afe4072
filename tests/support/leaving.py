"""LightningModules whose steps leave something on a module beside its weights, as published ones do."""

from __future__ import annotations

from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from styled import Style


class Inner(nn.Module):
    """A layer in front of others; what it leaves is for who inherits."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 4)
        self.made()

    def made(self) -> None:
        """What else it has."""

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


class Leaving(Style):
    """Has such a layer."""

    inner: type[Inner]

    def made(self) -> None:
        self.layers = nn.Sequential(self.inner(), nn.Tanh(), nn.Linear(4, 1))


class Statistics(Inner):
    """Keeps what it took off, as a reversible normalization does, and sizes that it computes anew."""

    def forward(self, x: Tensor) -> Tensor:
        self.padding_left = (x.shape[-1] - 1) // 2
        self.mean = x.mean(0, keepdim=True).detach()
        self.stdev = torch.sqrt(x.var(0, keepdim=True, unbiased=False) + 1e-5).detach()
        return super().forward((x - self.mean) / self.stdev) * self.stdev + self.mean


class Masked(Inner):
    """Makes a mask in its first forward, again for another size."""

    def made(self) -> None:
        self.mask: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        found = super().forward(x)
        n = found.shape[-1]
        if self.mask is None or self.mask.size(0) != n:
            self.mask = torch.triu(torch.ones(n, n, dtype=x.dtype), diagonal=1).masked_fill(torch.eye(n) == 1, -0.5)
        return found @ self.mask


class MaskedByBuffer(Inner):
    """Registers it as a buffer that no checkpoint has."""

    def made(self) -> None:
        self.register_buffer("mask", None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        found = super().forward(x)
        if self.mask is None:
            self.register_buffer("mask", torch.linspace(0, 1, found.shape[-1], dtype=x.dtype), persistent=False)
        return found * self.mask


class Rotary(Inner):
    """Keeps its angles by the number of samples, in a dictionary, and the largest number so far."""

    def made(self) -> None:
        self.angles: dict[int, tuple[Tensor, Tensor]] = {}
        self.longest = 0

    def forward(self, x: Tensor) -> Tensor:
        found, n = super().forward(x), 4
        if n > self.longest:
            angle = torch.outer(torch.arange(n, dtype=x.dtype), torch.ones(1, dtype=x.dtype))
            self.angles[n], self.longest = (angle.cos(), angle.sin()), n
        cos, sin = self.angles[self.longest]
        return found * cos[:, 0] + found.flip(-1) * sin[:, 0]


class Attends(Inner):
    """Keeps its attention for a picture."""

    def forward(self, x: Tensor) -> Tensor:
        found = super().forward(x)
        self.attention = torch.softmax(found @ found.T, -1)
        return self.attention @ found


class Gathers(Inner):
    """Collects what its layers give in a list of each forward."""

    def forward(self, x: Tensor) -> Tensor:
        self.activations = []
        for factor in (1, 2):
            self.activations.append(super().forward(x) * factor)
        return sum(self.activations)


@lru_cache
def table(n: int) -> Tensor:
    """Numbers that a program keeps for all modules."""
    return torch.linspace(0, 1, n, dtype=torch.float64)


class Shares(Inner):
    """Has a table that a function keeps."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * table(4)


class Batched(Style):
    """Keeps its last batch and what it made of it."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.last_batch, self.outputs = batch, []
        loss = super().training_step(batch, batch_idx)
        self.outputs.append(loss)
        self.last = SimpleNamespace(loss=loss, number=len(batch[0]))
        return loss + self.last.loss


class Named(Style):
    """Sets the attribute of its steps in a part that it has twice."""

    def made(self) -> None:
        self.inner = Statistics()
        self.layers = nn.Sequential(self.inner, nn.Tanh(), nn.Linear(4, 1))


# And state, which later steps depend on.


class Calibrates(Inner):
    """Takes its scale from its first batch."""

    def made(self) -> None:
        self.scale: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.scale is None:
            self.scale = x.std().detach()
        return super().forward(x) / self.scale


class FromWeights(Inner):
    """Keeps its first weights."""

    def made(self) -> None:
        self.first: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.first is None:
            self.first = self.linear.weight.detach().clone()
        return super().forward(x) - x @ self.first.T


class Averages(Inner):
    """Keeps a running mean that is no buffer."""

    def made(self) -> None:
        self.mean = torch.zeros(1, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.mean().detach()
        return super().forward(x - self.mean)


class Delays(Inner):
    """Adds what the step before has made."""

    def made(self) -> None:
        self.before = 0.0

    def forward(self, x: Tensor) -> Tensor:
        found = super().forward(x)
        delayed, self.before = found + self.before, found.detach().mean()
        return delayed


class Warms(Inner):
    """Does otherwise once its table is there."""

    def made(self) -> None:
        self.table: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        found = super().forward(x)
        if self.table is None:
            self.table = torch.ones(4)
            return found
        return found * 2


class Saves(Inner):
    """Registers a buffer that checkpoints have."""

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "mask"):
            self.register_buffer("mask", torch.ones(4))
        return super().forward(x) * self.mask


class Hands(Style):
    """Hands what its training sets over to its validation."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.center = batch[0].mean()
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step((batch[0] - self.center, batch[1]), batch_idx)


class HandsBack(Style):
    """Hands what its validation sets over to its training."""

    def made(self) -> None:
        self.center = 0.0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step((batch[0] - self.center, batch[1]), batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.center = batch[0].mean()
        super().validation_step(batch, batch_idx)


class Reports(Leaving):
    """Logs at the end of an epoch what its last steps have set, by a method of its own; checkpoints have it too."""

    inner = Attends

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.last = {"x": batch[0], "number": len(batch[0])}
        return super().training_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        self.log("val/attention", self.sharpness() + self.layers[0].linear.bias.sum())

    def on_train_epoch_end(self) -> None:
        self.log("train/last", self.last["x"].mean() * self.last["number"] + self.sharpness())

    def sharpness(self) -> Tensor:
        """Of its attention."""
        return self.layers[0].attention.square().mean()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["last"] = self.last["x"]


class Hides(Reports):
    """Names it nowhere."""

    def sharpness(self) -> Tensor:
        return getattr(self.layers[0], "".join(["atten", "tion"])).mean()


class KeepsObject(Style):
    """Keeps its last loss in an object, for the end of the epoch."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.last = SimpleNamespace(loss=loss)
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("train/last", self.last.loss.detach())


class Late(Style):
    """Counts its steps from its third epoch on, and its loss depends on it."""

    def made(self) -> None:
        self.n = 0

    def penalty(self) -> float:
        if self.current_epoch > 1:
            self.n += 1
        return float(self.n)


STATELESS = (Statistics, Masked, MaskedByBuffer, Rotary, Attends, Gathers, Shares)
STATES = {
    Calibrates: "scale",
    FromWeights: "first",
    Averages: "mean",
    Delays: "before",
    Warms: "table",
    Saves: "mask",
}


def leaving(inner: type[Inner]) -> type[Leaving]:
    """A module with this layer."""
    return type(inner.__name__, (Leaving,), {"inner": inner})
