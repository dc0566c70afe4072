"""LightningModules that optimize by hand, as they are published."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.nn.functional import mse_loss, softplus


class ByHand(pl.LightningModule):
    """One optimizer, stepped by hand."""

    def __init__(self, lr: float = 0.05) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.lr = lr
        self.layers = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        optimizer = self.optimizers()
        loss = mse_loss(self(batch[0]), batch[1])
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.log("train/loss", loss, on_step=False, on_epoch=True)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", mse_loss(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


class Accumulating(ByHand):
    """Adds up the gradients of three batches, clips them, and steps its scheduler."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        assert isinstance(optimizer, LightningOptimizer | torch.optim.SGD)
        assert isinstance(scheduler, torch.optim.lr_scheduler.StepLR)
        loss = mse_loss(self(batch[0]), batch[1]) / 3
        self.manual_backward(loss)
        if (batch_idx + 1) % 3 == 0:
            self.clip_gradients(optimizer, gradient_clip_val=0.1, gradient_clip_algorithm="norm")
            optimizer.step()
            optimizer.zero_grad()
            scheduler.step()
        return loss

    def configure_optimizers(self) -> Any:
        made = torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)
        return [made], [torch.optim.lr_scheduler.StepLR(made, 2, 0.9)]


class Adversarial(ByHand):
    """A generator and a discriminator, each with an optimizer of its own."""

    def __init__(self, lr: float = 0.05) -> None:
        super().__init__(lr)
        self.generator = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))
        self.discriminator = nn.Sequential(nn.Linear(1, 4), nn.LeakyReLU(), nn.Linear(4, 1))
        del self.layers

    def forward(self, noise: Tensor) -> Tensor:
        return self.generator(noise)

    def noise(self, batch: Any) -> Tensor:
        """What Lightning draws is not what a stack draws: here it is given."""
        return batch[0]

    def judged(self, samples: Tensor, sign: int) -> Tensor:
        return softplus(sign * self.discriminator(samples)).mean()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        first, second = self.optimizers()
        real = batch[1]
        noise = self.noise(batch)
        self.toggle_optimizer(first)
        loss = self.judged(self(noise), -1)
        self.log("g_loss", loss, prog_bar=True)
        self.manual_backward(loss)
        first.step()
        first.zero_grad()
        self.untoggle_optimizer(first)
        self.toggle_optimizer(second)
        against = (self.judged(real, -1) + self.judged(self(noise).detach(), 1)) / 2
        self.log("d_loss", against, on_step=False, on_epoch=True)
        self.manual_backward(against)
        second.step()
        second.zero_grad()
        self.untoggle_optimizer(second)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        real = batch[1]
        self.log("val/loss", self.judged(real, -1) + self.judged(self(real), 1))

    def configure_optimizers(self) -> Any:
        first = torch.optim.Adam(self.generator.parameters(), lr=self.lr, betas=(0.5, 0.9))
        return [first, torch.optim.Adam(self.discriminator.parameters(), lr=self.lr, betas=(0.5, 0.9))], []


class Drawing(Adversarial):
    """Draws its noise."""

    def noise(self, batch: Any) -> Tensor:
        return torch.randn_like(batch[0])


class Reusing(Adversarial):
    """Judges what it has made before the discriminator's step once more after it, and leaves gradients behind."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        first, second = self.optimizers()
        real = batch[1]
        made = self(self.noise(batch))
        second.zero_grad()
        against = self.judged(real, -1) + self.judged(made.detach(), 1)
        self.manual_backward(against)
        second.step()
        first.zero_grad()
        loss = self.judged(made, -1)
        self.manual_backward(loss)
        first.step()
        self.log_dict({"g_loss": loss, "d_loss": against}, on_step=False, on_epoch=True)


class Critical(Adversarial):
    """Steps its generator at every third batch."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        first, second = self.optimizers()
        real = batch[1]
        made = self(self.noise(batch))
        against = self.discriminator(made.detach()).mean() - self.discriminator(real).mean()
        self.log("d_loss", against, on_step=False, on_epoch=True)
        second.zero_grad()
        self.manual_backward(against)
        self.clip_gradients(second, gradient_clip_val=0.05, gradient_clip_algorithm="value")
        second.step()
        if (batch_idx + 1) % 3 == 0:
            loss = -self.discriminator(made).mean()
            first.zero_grad()
            self.manual_backward(loss)
            first.step()
            self.log("g_loss", loss, on_step=False, on_epoch=True)

    def configure_optimizers(self) -> Any:
        first, second = super().configure_optimizers()[0]
        schedulers = [torch.optim.lr_scheduler.ExponentialLR(each, 0.9) for each in (first, second)]
        return [first, second], schedulers

    def on_train_epoch_end(self) -> None:
        for each in self.lr_schedulers():
            each.step()
