"""What stands between a published network and a training: its loss, its samples, and how they are put together."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, TensorDataset

Loss = Callable[[Tensor, Tensor], Tensor]


class Samples(pl.LightningDataModule):
    """A dataset in batches, for training and validation alike."""

    def __init__(self, dataset: Dataset[Any], collate_fn: Callable[[Any], Any] | None = None) -> None:
        super().__init__()
        self.dataset, self.collate_fn = dataset, collate_fn

    def train_dataloader(self) -> DataLoader[Any]:
        """In another order each epoch."""
        return DataLoader(self.dataset, batch_size=8, shuffle=True, collate_fn=self.collate_fn)

    def val_dataloader(self) -> DataLoader[Any]:
        """In their own order."""
        return DataLoader(self.dataset, batch_size=8, collate_fn=self.collate_fn)


class Network(pl.LightningModule):
    """A network under a loss; of several outputs, the first is compared."""

    def __init__(self, net: nn.Module, loss: Loss = functional.mse_loss, lr: float = 1e-3) -> None:
        super().__init__()
        self.net, self.loss, self.lr = net, loss, lr

    def of(self, x: Tensor, y: Tensor) -> Tensor:
        """The loss of a batch."""
        found = self.net(x)
        return self.loss(found[0] if isinstance(found, tuple) else found, y)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Log it, and give it to be lowered."""
        loss = self.of(*batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log it."""
        self.log("val_loss", self.of(*batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=self.lr)


class Density(Network):
    """A normalizing flow, by the likelihood that it gives to the samples."""

    def of(self, x: Tensor, y: Tensor) -> Tensor:
        flow = self.net if hasattr(self.net, "log_prob") else self.net()
        return -flow.log_prob(x).mean()


class Latent(Network):
    """An invertible network that gives its latent numbers and the logarithm of its determinant."""

    def of(self, x: Tensor, y: Tensor) -> Tensor:
        latent, log_det = self.net(x)
        return (0.5 * latent.square().sum(1) - log_det).mean()


class Table(Network):
    """A network of numbers and of categories, of which there are none."""

    def of(self, x: Tensor, y: Tensor) -> Tensor:
        return self.loss(self.net(x, None), y)


class Members(Network):
    """A network that gives several predictions, each of which is to be right."""

    def of(self, x: Tensor, y: Tensor) -> Tensor:
        found = self.net(x)
        return self.loss(found, y[:, None].expand_as(found))


class Pairs(Network):
    """An encoder of two views of each sample, whose codes a loss compares."""

    def of(self, x: Tensor, y: Tensor) -> Tensor:
        return self.loss(self.net(x), self.net(y))


class Momentum(Pairs):
    """An encoder that learns from an average of itself, as lightly writes it to its weights in each step."""

    def __init__(self, net: nn.Module, loss: Loss, lr: float = 1e-3) -> None:
        super().__init__(net, loss, lr)
        self.average = copy.deepcopy(net).requires_grad_(False)
        self.head = nn.Linear(4, 4)

    def of(self, x: Tensor, y: Tensor) -> Tensor:
        from lightly.models.utils import update_momentum

        update_momentum(self.net, self.average, m=0.9)
        return self.loss(self.head(self.net(x)), self.average(y))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam([*self.net.parameters(), *self.head.parameters()], lr=self.lr)


class Points(nn.Module):
    """A graph network of points in space: of each the first three numbers are its place."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """What it makes of the features, summed over the points."""
        found: Tensor = self.layer(x[..., 3:], x[..., :3])[0].sum(1)
        return found


class Flow(nn.Module):
    """An ordinary differential equation, whose right side is a small network, integrated by torchdiffeq."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self.method = method
        self.slope = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, x: Tensor) -> Tensor:
        """Where it leads from `x`."""
        from torchdiffeq import odeint

        times = torch.linspace(0, 1, 5).to(x)
        found: Tensor = odeint(lambda time, state: self.slope(state), x, times, method=self.method)[-1]
        return found


def numbers(*shape: int, targets: int = 1, classes: int = 0) -> TensorDataset:
    """Samples of this shape, each with numbers or a class to be learned."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(*shape, generator=generator)
    y = torch.randint(classes, shape[:1], generator=generator) if classes else x.new_empty(shape[0], targets)
    return TensorDataset(x, y if classes else y.normal_(generator=generator))


def at_the_end(found: Tensor, y: Tensor) -> Tensor:
    """The squared error of the last of a sequence."""
    return functional.mse_loss(found[:, -1], y)


def windows() -> Any:
    """Windows of a wave, as darts gives them to its modules."""
    from darts import TimeSeries
    from darts.utils.data.torch_datasets.training_dataset import SequentialTorchTrainingDataset

    wave = TimeSeries.from_values(torch.linspace(0, 12 * math.pi, 120, dtype=torch.float64).sin()[:, None].numpy())
    return SequentialTorchTrainingDataset(wave, input_chunk_length=8, output_chunk_length=2)


def couplings() -> nn.Module:
    """A flow of normflows."""
    import normflows

    flows = []
    for _ in range(2):
        flows.append(normflows.flows.AffineCouplingBlock(normflows.nets.MLP([1, 8, 8, 2], init_zeros=True)))
        flows.append(normflows.flows.Permute(2, mode="swap"))
    flow: nn.Module = normflows.NormalizingFlow(normflows.distributions.base.DiagGaussian(2), flows)
    return flow


def invertible() -> nn.Module:
    """A network of FrEIA."""
    from FrEIA import framework, modules

    def subnet(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(nn.Linear(inputs, 8), nn.ReLU(), nn.Linear(8, outputs))

    found = framework.SequenceINN(2)
    for _ in range(2):
        found.append(modules.AllInOneBlock, subnet_constructor=subnet)
    whole: nn.Module = found
    return whole
