"""LightningModules and DataModules that keep and change things beside their weights, as they are published."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils import weight_norm as older_weight_norm
from torch.utils.data import DataLoader, TensorDataset, random_split
from torchmetrics import RunningMean
from torchmetrics.classification import BinaryAccuracy

from driven import job
from line_samples import Scaled
from own_modules import Regression
from shoal.engines.job import Job
from shoal.losses import Own as OwnLoss
from shoal.models import Own as OwnModel
from shoal.optimizers import Own as RunOptimizer
from shoal.tasks import LightningTask, Parabola


class Style(Regression):
    """A small network; its steps are those of who inherits."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))
        self.made()

    def made(self) -> None:
        """What else it has."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx) + self.penalty()

    def penalty(self) -> Any:
        """What is added to the loss."""
        return 0.0

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Scatters(Style):
    """Counts samples by what they are, beside a generator that it has no use for."""

    def made(self) -> None:
        self.own = torch.Generator()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        places = (batch[0].flatten() > 0.5).long()
        counts = torch.zeros(2).scatter_add_(0, places, torch.ones(len(places)))
        return super().training_step(batch, batch_idx) + (counts * self.layers[2].weight[0, :2]).square().sum()


@dataclass
class Count:
    """Counts."""

    n: int = 0


class Annealed(Style):
    """Its penalty counts by what hooks set in an object."""

    def made(self) -> None:
        self.config = SimpleNamespace(beta=0.0)
        self.save_hyperparameters({"gamma": 0.0})

    def on_train_epoch_start(self) -> None:
        self.config.beta = self.hparams.gamma = self.current_epoch / 10

    def penalty(self) -> Tensor:
        return (self.config.beta + self.hparams.gamma) * self.layers[0].weight.square().sum()


class Weighs(Style):
    """Its penalty is weighed by a tensor that a hook makes anew for each epoch."""

    def on_train_epoch_start(self) -> None:
        self.share = torch.tensor(0.5**self.current_epoch)

    def penalty(self) -> Tensor:
        return self.share * self.layers[0].weight.square().sum()


class Assigns(Style):
    """Puts another tensor in the place of a buffer."""

    def made(self) -> None:
        self.register_buffer("seen", torch.zeros(()))

    def penalty(self) -> Tensor:
        self.seen = self.seen + self.layers[0].weight.detach().sum()
        return self.seen * self.layers[0].weight.sum()


class Decays(Style):
    """Counts its steps in a buffer of whole numbers, and divides its penalty by their root."""

    def made(self) -> None:
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def penalty(self) -> Tensor:
        self.steps += 1
        return (
            self.layers[0].weight.square().sum() / self.steps.sqrt()
            + (0.1 * self.steps).sin() * self.layers[0].bias.sum()
        )


class Unused(Style):
    """Has a layer that no gradient reaches, and an optimizer that decays weights."""

    optimizer: Any = torch.optim.AdamW

    def made(self) -> None:
        self.unused = nn.Linear(2, 2)

    def configure_optimizers(self) -> Any:
        return self.optimizer(self.parameters(), lr=0.1, weight_decay=0.1)


class UnusedByObject(Unused):
    """Is stepped by its own object, one for several runs."""

    optimizer = torch.optim.NAdam


class UnusedByObjects(Unused):
    """Is stepped by its own object, one for each run."""

    optimizer = torch.optim.Adafactor


class Checks(Style):
    """Looks whether its numbers are finite, as many do."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        assert not torch.isnan(loss).any()
        if not torch.isfinite(self.layers[0].weight).all() or loss.isinf() or loss.isnan().item():
            return None
        return loss if (~loss.isfinite()).any() == False else 2 * loss  # noqa: E712


class Sloped(Style):
    """Has its slope be small, by a derivative for each sample."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        slope = torch.func.vmap(torch.func.grad(lambda x: self(x).sum()))
        return super().training_step(batch, batch_idx) + slope(batch[0]).square().mean()


class Fills(Style):
    """Adds to its loss what it writes to tensors that it makes, of torch's default type, and puts side by side."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        both = torch.empty(len(x), 2)
        both[:, :1], both[:, 1:] = self(x), y
        beside = torch.column_stack([y[:, 0], self(x)]).square().mean()
        loss = super().training_step(batch, batch_idx) + beside
        return loss + (both.diff() * torch.linspace(0, 1, len(x))[:, None]).mean()


class Transfers(Style):
    """Changes its batches on their way: their form, their place, and in training what is in them."""

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        x, y = batch
        return {"x": x, "y": y}

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return super().transfer_batch_to_device({**batch, "twice": 2 * batch["x"]}, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        factor = 1.5 if self.trainer.training else 1.0
        return batch["x"] * factor - batch["twice"] + self.layers[0].bias.detach().mean(), batch["y"]


class Judges(Style):
    """Logs what a metric gives for each batch, of numbers that are no probabilities yet."""

    def made(self) -> None:
        self.accuracy = BinaryAccuracy()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        self.log("train/accuracy", self.accuracy(self(x), (y > 0.2).int()))
        return super().training_step(batch, batch_idx)


class Mixes(Style):
    """Mixes samples on their way, of a DataModule that draws them as it is set up."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        x, y = batch
        return (x + x.flip(0)) / 2, y


class Distills(Style):
    """Learns from another network, which it asks in inference mode, and from a curvature of its own."""

    def made(self) -> None:
        self.teacher = nn.Sequential(nn.Flatten(), nn.Linear(1, 1)).requires_grad_(False)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, _ = batch
        with torch.inference_mode():
            taught = self.teacher(x)
        curved = torch.func.vmap(torch.func.hessian(lambda each: self(each).sum()))(x)
        return super().training_step(batch, batch_idx) + (self(x) - taught).square().mean() + curved.square().mean()


class BringsCallbacks(Style):
    """Has callbacks of its own."""

    def configure_callbacks(self) -> Any:
        return [pl.callbacks.EarlyStopping("train/loss", patience=1)]


class WritesBatch(Style):
    """Changes its samples in place, in training and in validation."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, _ = batch
        x.mul_(1.5).clamp_(-1, 1)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        batch[0].view(-1).add_(0.5)
        super().validation_step(batch, batch_idx)


class WritesBatchLater(Style):
    """Changes its samples in place in its second epoch alone."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if self.current_epoch:
            batch[0].mul_(1.5)
        return super().training_step(batch, batch_idx)


class Replaces(Style):
    """Has another parameter after each step, as a codebook that is averaged."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.layers[2].bias = nn.Parameter(self.layers[2].bias * 0.9)
        return loss


class ReplacesAfterwards(Style):
    """Has another parameter after each epoch."""

    def on_train_epoch_end(self) -> None:
        self.layers[2].bias = nn.Parameter(self.layers[2].bias.detach() * 0.9)


class Halves(Style):
    """Learns from half of its samples, those below the median, if there are any."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        below = (batch[0] <= batch[0].median()).squeeze(1)
        x, y = batch[0][below], batch[1][below, :]
        loss = nn.functional.mse_loss(self(x), y) if len(y) else torch.zeros(())
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return loss


class Normed(Style):
    """Has layers whose weights hooks make, of torch's older kinds and its newer."""

    def made(self) -> None:
        one, two, three, four = (nn.Linear(3, 3) for _ in range(4))
        prune.l1_unstructured(four, "weight", 0.5)
        normed = [nn.utils.spectral_norm(one), nn.utils.parametrizations.spectral_norm(two), older_weight_norm(three)]
        self.layers = nn.Sequential(nn.Linear(1, 3), *normed, nn.Tanh(), four, nn.Linear(3, 1))


class MakesLater(Style):
    """Makes all its layers where its training begins."""

    def made(self) -> None:
        del self.layers

    def configure_model(self) -> None:
        self.layers = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))


class RemembersLater(MakesLater):
    """Makes one with a memory there."""

    def configure_model(self) -> None:
        super().configure_model()
        self.memory = nn.LSTM(1, 2)


class Prepares(Style):
    """Prepares its data, splits and shuffles them itself."""

    def prepare_data(self) -> None:
        self.factor = 2.0

    def setup(self, stage: str) -> None:
        x = torch.rand(40, 1)
        self.parts = random_split(TensorDataset(x, self.factor * x), [30, 10])

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.parts[0], 10, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.parts[1], 10)


class Keeps(Style):
    """Keeps losses by name, for the end of the epoch."""

    def made(self) -> None:
        self.losses_of: dict[str, list[Tensor]] = {"train": []}

    def penalty(self) -> Any:
        self.losses_of["train"].append(self.layers[0].weight.detach().sum())
        return 0.0


class KeepsLatest(Style):
    """Keeps the latest ones."""

    def made(self) -> None:
        self.latest: deque[Any] = deque(maxlen=3)

    def penalty(self) -> Any:
        self.latest.append(0)
        return 0.0


class CountsWithin(Style):
    """Counts its steps in an object."""

    def made(self) -> None:
        self.count = Count()

    def penalty(self) -> Any:
        self.count.n += 1
        return 0.0 if self.count.n < 9 else self.layers[0].weight.sum()


class CountsInArray(Style):
    """Counts them in an array."""

    def made(self) -> None:
        self.count = numpy.zeros(2)

    def penalty(self) -> Any:
        self.count[0] += 1
        return 0.0


class ScalesGradient(Style):
    """Changes a gradient once it is there."""

    def made(self) -> None:
        self.layers[0].weight.register_post_accumulate_grad_hook(lambda param: param.grad.mul_(0.5))


class ClampsGradient(Style):
    """Changes one where it is large."""

    def made(self) -> None:
        self.layers[0].weight.register_hook(lambda grad: grad.clamp(-9, 9))


class TakesTurns(Style):
    """Trains one of two layers, by the number of the batch."""

    def made(self) -> None:
        self.other = nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.other(x) if self.odd else self.layers(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = [nn.functional.mse_loss(each(batch[0]), batch[1]) for each in (self.layers, self.other)]
        return loss[batch_idx % 2]

    validation_step = pl.LightningModule.validation_step


class HoldsTwice(Style):
    """Takes its weights from a dictionary, in which it has them a second time."""

    def made(self) -> None:
        self.by_name = {"scale": self.added("scale", 1), "shifts": [self.added("shift", 1)]}
        self.register_buffer("unit", torch.ones(1))
        self.constants = [self.unit]

    def added(self, name: str, size: int) -> nn.Parameter:
        """A new parameter of that name."""
        self.register_parameter(name, nn.Parameter(torch.rand(size)))
        return getattr(self, name)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) * self.by_name["scale"] + self.by_name["shifts"][0] * self.constants[0]


class HoldsInFunction(Style):
    """Takes a weight from a function that holds it."""

    def made(self) -> None:
        scale = self.scale = nn.Parameter(torch.rand(1))
        self.scaled = lambda x: x * scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scaled(self.layers(x))  # type: ignore[no-any-return]


class HoldsItself(Style):
    """Makes its batches of its own state."""

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(Scaled(), 10, collate_fn=self.collated)

    def collated(self, samples: Any) -> Any:
        """A batch by the epoch."""
        x, y = zip(*samples, strict=True)
        return torch.stack(x), torch.stack(y) * self.current_epoch


class Recovers(Style):
    """Has numbers in its second epoch that are none, and goes on."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx) * (torch.nan if self.current_epoch else 1.0)
        return self.layers[0].weight.square().sum() if torch.isnan(loss) else loss


class Uncertain(Style):
    """Has a negative variance in its second epoch, which torch refuses."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        variance = torch.ones_like(y) * (-1.0 if self.current_epoch else 1.0)
        return super().training_step(batch, batch_idx) + torch.nn.functional.gaussian_nll_loss(self(x), y, variance)


class MeasuresBatches(Style):
    """Logs by step a metric that gives a value for the epoch alone."""

    def made(self) -> None:
        self.recent = RunningMean(window=2)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.recent(loss)
        self.log("recent", self.recent)
        return loss


class StopsWithin(Style):
    """Stops its training in a step of its second epoch."""

    def penalty(self) -> Any:
        if self.current_epoch:
            self.trainer.should_stop = True
        return 0.0


class AddsUp(Style):
    """Changes how its Trainer trains."""

    def on_train_epoch_start(self) -> None:
        self.trainer.accumulate_grad_batches = 1 + self.current_epoch


class Steepens(Style):
    """Changes the samples of its DataModule in each epoch."""

    def on_train_epoch_start(self) -> None:
        self.trainer.datamodule.samples.slope = 1.0 + self.current_epoch


class SteepensOwn(Style):
    """Changes its own."""

    def made(self) -> None:
        self.samples = Scaled()

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.samples, 10)

    def on_train_epoch_end(self) -> None:
        self.samples.slope += 1.0


class CountsValidation(Style):
    """Counts the batches of its validation in a buffer, by which its penalty grows."""

    def made(self) -> None:
        self.register_buffer("seen", torch.zeros(()))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.seen += 1
        super().validation_step(batch, batch_idx)
        self.log("val/seen", self.seen)

    def penalty(self) -> Tensor:
        return 0.01 * self.seen * self.layers[0].weight.sum()


class RatesByTime(Style):
    """Has rates that follow from where its module says that it is."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        by_epoch = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: 1 / (1 + n + self.current_epoch))
        by_step = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: 1 / (1 + n + self.global_step))
        return [optimizer], [by_epoch, {"scheduler": by_step, "interval": "step"}]


class KnowsRate(Style):
    """Weighs its penalty by the rate of the optimizer that it keeps."""

    def configure_optimizers(self) -> Any:
        self.optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [self.optimizer], [torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.5)]

    def penalty(self) -> Tensor:
        return self.optimizer.param_groups[0]["lr"] * self.layers[0].weight.sum()


class RatesByWeights(Style):
    """Has a rate by its weights."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: self.factor())]

    def factor(self) -> float:
        """That of the rate."""
        return float(self.layers[0].weight.detach().norm())


class RatesByMetrics(RatesByWeights):
    """Has one by what it has measured."""

    def factor(self) -> float:
        return float(self.trainer.callback_metrics.get("train/loss", 1.0))


class Unhooks(Style):
    """Takes a forward hook of a layer away in its third epoch."""

    def made(self) -> None:
        self.hook = self.layers[1].register_forward_hook(lambda layer, given, output: 2 * output)

    def on_train_epoch_start(self) -> None:
        if self.current_epoch == 2:
            self.hook.remove()


class AsksAgain(Style):
    """Is stepped by an optimizer that asks for the loss again."""

    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)


class Caches(Style):
    """Keeps what it has made of the time of its first step."""

    @cached_property
    def beta(self) -> float:
        """By the epoch."""
        return 1.0 + self.current_epoch

    def penalty(self) -> Tensor:
        return self.beta * self.layers[0].weight.sum()


BETAS = {"beta": 0.0}


class AnnealsOutside(Style):
    """Sets how much its penalty counts beside itself."""

    def on_train_epoch_start(self) -> None:
        BETAS["beta"] = self.current_epoch / 10

    def penalty(self) -> Tensor:
        return BETAS["beta"] * self.layers[0].weight.sum()


class JudgesOutside(Style):
    """Adds it to what it is judged by."""

    on_train_epoch_start = AnnealsOutside.on_train_epoch_start

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", nn.functional.mse_loss(self(batch[0]), batch[1]) + BETAS["beta"])


class JudgesLater(Style):
    """Is judged by it of its second data loader."""

    on_train_epoch_start = AnnealsOutside.on_train_epoch_start

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(TensorDataset(torch.arange(20.0)[:, None], torch.ones(20, 1)), 10)

    def val_dataloader(self) -> list[DataLoader[Any]]:
        return [self.train_dataloader(), self.train_dataloader()]

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("val/loss", nn.functional.mse_loss(self(batch[0]), batch[1]) + dataloader_idx * BETAS["beta"])


class AnnealsClass(Style):
    """Sets it in its class."""

    beta = 0.0

    def on_train_epoch_start(self) -> None:
        type(self).beta = self.current_epoch / 10

    def penalty(self) -> Tensor:
        return self.beta * self.layers[0].weight.sum()


class AnnealsEnvironment(Style):
    """Sets it in the environment."""

    def on_train_epoch_start(self) -> None:
        os.environ["BETA"] = str(self.current_epoch / 10)

    def penalty(self) -> Tensor:
        return float(os.environ.get("BETA", 0)) * self.layers[0].weight.sum()


class ChangesMethod(Style):
    """Puts another method into its class."""

    def on_train_epoch_start(self) -> None:
        epoch = self.current_epoch
        type(self).penalty = lambda own: epoch / 10 * own.layers[0].weight.sum()


class Remembers(Style):
    """Keeps a list of its epochs beside itself, which no step looks at."""

    epochs: ClassVar[list[int]] = []

    def on_train_epoch_start(self) -> None:
        self.epochs.append(self.current_epoch)


class Tags(Style):
    """Counts its steps on a weight."""

    def penalty(self) -> float:
        weight: Any = self.layers[0].weight
        weight.n = getattr(weight, "n", 0) + 1
        return float(weight.n > 9)


class LooksBack(Style):
    """Has a penalty by the gradient that the step before has left."""

    def penalty(self) -> Any:
        grad = self.layers[0].weight.grad
        return 0.0 if grad is None else grad.square().sum() * self.layers[0].weight.sum()


class Adds(Style):
    """Makes a parameter in its first step."""

    def penalty(self) -> Any:
        if not hasattr(self, "late"):
            self.late = nn.Parameter(torch.ones(()))
        return self.late


class Lazy(Style):
    """Has layers that wait for their first batch."""

    def made(self) -> None:
        self.layers = nn.Sequential(nn.LazyLinear(4), nn.Tanh(), nn.Linear(4, 1))


class Switches(TakesTurns):
    """Trains one of two layers, by the epoch."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step(batch, self.current_epoch)


def job_of(module: type[pl.LightningModule], seed: int, data: Callable[[], Any] | None = None, **settings: Any) -> Job:
    """A run of such a module, of its own samples or those of a DataModule where it has them."""
    own = data is not None or hasattr(module, "parts") or "train_dataloader" in vars(module)
    given = {"datamodule": data} if own else {"samples": Parabola(seed=seed, n_samples=40, batch_size=10)}
    task = LightningTask(seed=seed, module=module, **given)
    return job(seed, task=task, model=OwnModel(), loss=OwnLoss(), optimizer=RunOptimizer(), max_epochs=4, **settings)
