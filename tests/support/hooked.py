"""LightningModules and callbacks with hooks at the ends of epochs, as they are published."""

from __future__ import annotations

from abc import ABC
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanMetric, MeanSquaredError, MetricCollection, MinMetric

from own_modules import Batch, Regression
from shoal.engines.hook_names import CALLED


class Fitted(Regression):
    """A linear fit."""

    def __init__(self, lr: float = 0.05) -> None:
        super().__init__()
        self.layers, self.lr = torch.nn.Linear(1, 1), lr

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Annealed(Fitted):
    """Sets in each epoch how much its penalty counts, and keeps its weights within bounds."""

    def setup(self, stage: str) -> None:
        self.scale = 0.1

    def on_train_epoch_start(self) -> None:
        self.beta = self.current_epoch / self.trainer.max_epochs
        self.began = torch.rand(())

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss + self.beta * self.scale * self.layers.weight.square().sum()

    def on_validation_epoch_end(self) -> None:
        self.log("val/norm", self.layers.weight.norm())
        self.log("val/same", self.trainer.callback_metrics["val/loss"])

    def on_train_epoch_end(self) -> None:
        with torch.no_grad():
            self.layers.weight.clamp_(max=0.6)
        self.log_dict({"drawn": self.began + torch.rand(()), "steps": float(self.global_step)}, logger=True)
        self.log("rate", self.optimizers().param_groups[0]["lr"])
        self.log("rate of torch's", self.optimizers().optimizer.param_groups[0]["lr"])


class OwnPenalty(Annealed):
    """Its penalty follows from the run's own weights."""

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.beta = self.layers.weight.item()


class Freezes(Fitted):
    """Trains fewer of its parameters later on."""

    def on_train_epoch_end(self) -> None:
        self.layers.bias.requires_grad_(False)


class FreezesAtOnce(Fitted):
    """Trains fewer of its parameters from the beginning on."""

    def on_train_start(self) -> None:
        self.layers.bias.requires_grad_(False)


class Asks(Fitted):
    """Asks its Trainer for what a stack does not have."""

    def on_train_epoch_end(self) -> None:
        self.log("n", float(len(self.trainer.strategy.model.parameters())))


class AsksLogged(Fitted):
    """Asks it for what went to its loggers, which is less than what callbacks are told."""

    def on_train_epoch_end(self) -> None:
        self.log("n", float(len(self.trainer.logged_metrics)))


class SwapsLoss(Fitted):
    """Has another layer, without weights, from some epoch on."""

    def __init__(self) -> None:
        super().__init__()
        self.criterion: torch.nn.Module = torch.nn.MSELoss()

    def on_train_epoch_start(self) -> None:
        if self.current_epoch:
            self.criterion = torch.nn.L1Loss()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.criterion(self(batch[0]), batch[1])  # type: ignore[no-any-return]


class StepsAgain(Fitted):
    """Takes a further step with the last gradient."""

    def on_train_epoch_end(self) -> None:
        self.optimizers().step()


class EndsByError(Fitted):
    """Ends its training as Lightning's own loops do."""

    def on_train_epoch_end(self) -> None:
        raise StopIteration


class Toggles(Fitted):
    """Takes its steps by hand from some epoch on."""

    def on_train_epoch_start(self) -> None:
        self.automatic_optimization = self.current_epoch < 2


class SetsRate(Fitted):
    """Sets its learning rate by hand."""

    def on_train_epoch_end(self) -> None:
        self.optimizers().param_groups[0]["lr"] *= 0.5


class Shares(Fitted):
    """Gives a share of its prediction while it is judged."""

    share = 1.0

    def on_validation_epoch_start(self) -> None:
        self.share = 0.5

    def on_validation_epoch_end(self) -> None:
        self.share = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return self.share * super().forward(x)


class Averages(pl.Callback):
    """Has the weights be averages of theirs while they are judged."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.mean = {name: value.clone() for name, value in pl_module.state_dict().items()}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for name, value in pl_module.state_dict().items():
            self.mean[name].lerp_(value, 0.25)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.own = {name: value.clone() for name, value in pl_module.state_dict().items()}
        pl_module.load_state_dict(self.mean)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pl_module.load_state_dict(self.own)


class Counts(pl.Callback):
    """Counts epochs, and stops the run after some of them."""

    def __init__(self, most: int = 10**9) -> None:
        self.most, self.n = most, 0

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.n += 1
        self.log("n", float(self.n))
        trainer.should_stop = self.n >= self.most

    def state_dict(self) -> dict[str, Any]:
        return {"n": self.n}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.n = state_dict["n"]


class Follows(pl.Callback):
    """Does at each hook what a callback may: asks the Trainer, logs, changes weights, draws, and ends the training."""

    def __init__(self, most: int = 10**9) -> None:
        self.most = most
        self.heard: list[str] = []

    def note(self, hook: str, trainer: pl.Trainer) -> None:
        """Take note of when a hook was called, and of what was known then."""
        known = ",".join(sorted(name for name in trainer.callback_metrics if name.startswith(("train/", "val/"))))
        self.heard.append(f"{hook} {trainer.current_epoch} {trainer.global_step} {known}")

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.heard.append(f"setup {stage}")

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.note("fit", trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.note("train", trainer)
        self.first = sum(float(each.detach().sum()) for each in pl_module.parameters())

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.note("epoch", trainer)
        self.drawn = torch.rand(())

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.note("validation", trainer)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.note("validation epoch", trainer)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.note("validation epoch's end", trainer)
        self.log("val/norm", torch.stack([each.norm() for each in pl_module.parameters()]).sum())

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.note("validation's end", trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.note("epoch's end", trainer)
        self.log_dict({"first": self.first, "drawn": self.drawn, "scale": 1.0 / (1 + trainer.current_epoch)})
        with torch.no_grad():
            for each in pl_module.parameters():
                each.clamp_(-0.5, 0.5)
        if trainer.current_epoch + 1 >= self.most:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {"heard": list(self.heard)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.heard = list(state_dict["heard"])


class AtBatches(pl.Callback):
    """Counts the batches at which one of its hooks is called, and logs there how many they are."""

    def __init__(self, hook: str) -> None:
        self.n = 0
        setattr(self, hook, self.count)

    def count(self, trainer: pl.Trainer, *given: Any) -> None:
        """Be any hook of a batch."""
        self.n += 1
        self.log("mine", float(self.n), on_step=False, on_epoch=True, reduce_fx="max")


def noted(hook: str, *given: Any, **_: Any) -> None:
    """Write down that a hook of a `LambdaCallback` was called."""
    trainer = given[0]
    with Path("noted").open("a") as file:
        file.write(f"{hook} {trainer.current_epoch} {trainer.global_step}\n")


class Gathers(Fitted):
    """Keeps what its steps give for the end of the epoch, as modules do since Lightning 2."""

    def __init__(self) -> None:
        super().__init__()
        self.training_step_outputs: list[Any] = []

    def on_validation_epoch_start(self) -> None:
        self.outputs: list[Tensor] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.training_step_outputs.append({"loss": loss, "size": len(batch[0])})
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.outputs.append(self(batch[0]))

    def on_validation_epoch_end(self) -> None:
        self.log("spread", torch.cat(self.outputs).std())

    def on_train_epoch_end(self) -> None:
        losses = [each["loss"] for each in self.training_step_outputs]
        self.log("worst", torch.stack(losses).max())
        self.log("samples", float(sum(each["size"] for each in self.training_step_outputs)))
        self.training_step_outputs.clear()


class Looks(Gathers):
    """Looks at what it has gathered."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss * (1 + len(self.training_step_outputs))


class Measures(ABC, Fitted):
    """Has metrics with a state, as the usual template has, and is an abstract class first."""

    def __init__(self) -> None:
        super().__init__()
        self.train_mean, self.val_error, self.best = MeanMetric(), MeanAbsoluteError(), MinMetric()
        self.share, self.squared = MeanMetric(), MeanSquaredError()
        self.by_batch = MetricCollection({"mae": MeanAbsoluteError()}, prefix="val/by_batch_")
        self.several = MetricCollection({"mse": MeanSquaredError(), "mae": MeanAbsoluteError()}, prefix="val/")

    def on_train_start(self) -> None:
        self.best.reset()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.squared(self(batch[0]), batch[1])
        self.log("train/squared", loss, on_step=False, on_epoch=True)
        self.train_mean(loss)
        self.log("train/mean", self.train_mean, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.val_error.update(self(batch[0]), batch[1])
        self.several(self(batch[0]), batch[1])
        self.log_dict(self.by_batch(self(batch[0]), batch[1]))
        self.share(batch[1].new_ones(len(batch[1]), dtype=torch.int64))
        self.log("val/share", self.share)
        self.log("val/error", self.val_error, on_step=False, on_epoch=True)
        self.log_dict(self.several)

    def on_validation_epoch_end(self) -> None:
        self.best(self.val_error.compute())
        self.log("val/best", self.best.compute())


class Weighs(Fitted):
    """Weighs its loss by the mean of all losses so far."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = MeanMetric()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.mean.update(loss)
        return loss * self.so_far()

    def so_far(self) -> Any:
        """What the metric has come to."""
        return self.mean.compute()


class WeighsBySum(Weighs):
    """Weighs it by their sum, which is a state of the metric."""

    def so_far(self) -> Any:
        return self.mean.mean_value * 2


class Empties(Weighs):
    """Has the metric be that of its latest batch."""

    def so_far(self) -> Any:
        self.mean.reset()
        return 1.0


class SharesMetric(Weighs):
    """Logs one metric of training and validation."""

    def so_far(self) -> Any:
        self.log("train/mean", self.mean, on_step=False, on_epoch=True)
        return 1.0

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.mean.update(batch[1])
        self.log("val/mean", self.mean)


def _noting(hook: str) -> Any:
    def called(self: Any, *given: Any, stage: str | None = None) -> None:
        module = given[1] if len(given) > 1 else self
        module.called.append(f"{hook} of {type(self).__name__}")
        module.found.append(_found(hook, module))

    called.__name__ = hook
    return called


def _found(hook: str, module: Any) -> list[float]:
    """What a hook finds where it is called."""
    trainer, weight = module.trainer, module.layers.weight
    rates = [group["lr"] for each in trainer.optimizers for group in each.param_groups] if hook != "setup" else []
    measured = [float(trainer.callback_metrics.get(name, -1)) for name in module.losses]
    grad = [] if weight.grad is None else weight.grad.flatten().tolist()
    modes = module.training, trainer.training, trainer.validating, torch.is_grad_enabled()
    times = module.current_epoch, module.global_step, trainer.current_epoch, trainer.global_step
    return [*modes, *times, *rates, *weight.flatten().tolist(), *grad, *measured]


class Notes(Regression):
    """Notes each of its hooks, and those of its callbacks."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Linear(1, 1)
        self.called, self.found = list[str](), list[Any]()

    locals().update({hook: _noting(hook) for hook in CALLED if hook != "setup"})


class NotesFirst(pl.Callback):
    """Notes its own."""

    locals().update({hook: _noting(hook) for hook in CALLED})


class NotesToo(NotesFirst):
    """Notes them after the other one."""


class NotesOwnRates(Notes):
    """Has its own optimizer and schedulers: one for each epoch, one for each step and one by what is measured."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05)
        by_epoch = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        by_step = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.8)
        measured = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=0.9)
        every: list[Any] = [by_epoch, {"scheduler": by_step, "interval": "step"}]
        return [optimizer], [*every, {"scheduler": measured, "monitor": "train/loss"}]
