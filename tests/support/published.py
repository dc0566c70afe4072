"""LightningModules as they are published, written by people who know nothing of shoal."""

from __future__ import annotations

from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


def _note(hook: str) -> None:
    with Path("order").open("a") as file:
        file.write(f"{hook} ")


class Data(L.LightningModule):
    """Brings its own data, made in Lightning's order."""

    def prepare_data(self) -> None:
        _note("prepare_data")

    def setup(self, stage: str) -> None:
        _note(f"setup({'fit' if stage == 'fit' else stage})")
        self.size = 8 * self.trainer.world_size
        x = torch.linspace(0, 1, 32)[:, None]
        self.samples = TensorDataset(x, 2 * x)

    def train_dataloader(self) -> DataLoader:
        _note("train_dataloader")
        return DataLoader(self.samples, batch_size=self.size)

    def val_dataloader(self) -> DataLoader:
        _note("val_dataloader")
        return DataLoader(self.samples, batch_size=self.size)


class Silent(Data):
    """Logs nothing, and makes its layer only when its training begins."""

    def configure_model(self) -> None:
        if not hasattr(self, "layer"):
            self.layer = nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": nn.functional.mse_loss(self(batch[0]), batch[1])}

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return nn.functional.mse_loss(self(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Sized(Silent):
    """Makes its layer by the data."""

    def setup(self, stage: str) -> None:
        super().setup(stage)
        Silent.configure_model(self)

    def configure_model(self) -> None:
        pass


class Template(Silent):
    """Is given its network, its optimizer and its loss, and keeps all of it as hyperparameters."""

    def __init__(
        self,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler,  # type: ignore[valid-type]
        loss: Any,
        kind: type = dict,
        path: Any = Path("data"),
        width: int = 4,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = net

    def configure_model(self) -> None:
        pass

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.hparams.loss(self(batch[0]), batch[1])
        self.log("train/error", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = self.hparams.optimizer(params=self.trainer.model.parameters())
        return {"optimizer": optimizer, "lr_scheduler": self.hparams.scheduler(optimizer=optimizer)}


class Odd(Silent):
    """Keeps in its checkpoints what cannot be read again."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["made_by"] = {"function": partial(print)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        assert checkpoint["made_by"]["function"].func is print


class Odder(Silent):
    """Keeps another object in each epoch."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["printed"] = partial(print, self.current_epoch)


class Metric(Silent):
    """Logs no loss and gives none back."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = nn.functional.mse_loss(self(batch[0]), batch[1])
        self.log("quality", loss, on_step=False, on_epoch=True)
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        pass

    def configure_model(self) -> None:
        super().configure_model()
        self.automatic_optimization = False


class Images(Silent):
    """Is given pictures."""

    def setup(self, stage: str) -> None:
        self.size = 4
        self.samples = TensorDataset(torch.rand(8, 1, 3, 3, generator=torch.Generator()), torch.zeros(8, 1))

    def configure_model(self) -> None:
        self.layer = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten())


class Averaging(torch.optim.SGD):
    """Keeps the mean of all weights so far, and puts it in their place while they are judged."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, lr=lr)
        self.param_groups[0]["training"] = False

    def train(self) -> None:
        self._swap(True)

    def eval(self) -> None:
        self._swap(False)

    def _swap(self, training: bool) -> None:
        group = self.param_groups[0]
        if group["training"] == training:
            return
        group["training"] = training
        for parameter in group["params"]:
            if "other" in self.state[parameter]:
                kept = parameter.detach().clone()
                parameter.data.copy_(self.state[parameter]["other"])
                self.state[parameter]["other"] = kept

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        group = self.param_groups[0]
        assert group["training"], "a step with the weights that are judged"
        loss = super().step(closure)
        for parameter in group["params"]:
            state = self.state[parameter]
            state["n"] = state.get("n", 0) + 1
            mean = state.setdefault("other", parameter.detach().clone())
            mean += (parameter - mean) / state["n"]
        return loss


class Delayed(torch.optim.Optimizer):
    """Steps by the gradient of two steps before, which waits in a queue, and has no learning rate by that name."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, {"size": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = closure() if closure else None
        for group in self.param_groups:
            for parameter in group["params"]:
                waiting = self.state[parameter].setdefault("waiting", deque(maxlen=3))
                waiting.append(parameter.grad.clone())
                parameter.sub_(waiting[0], alpha=group["size"])
        return loss


class Counter:
    """Counts, in a class of its own."""

    def __init__(self) -> None:
        self.n = 0


class Counting(torch.optim.SGD):
    """Keeps an object in its state."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for parameter in self.param_groups[0]["params"]:
            self.state[parameter].setdefault("counter", Counter()).n += 1
        return super().step(closure)


class Noisy(torch.optim.SGD):
    """Adds what it draws to each step."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        for parameter in self.param_groups[0]["params"]:
            parameter.add_(torch.randn_like(parameter), alpha=1e-3)
        return loss


class Backed(Silent):
    """Has a backbone that is trained late."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(1, 2)
        self.layer = nn.Sequential(self.backbone, nn.Linear(2, 1))

    def configure_optimizers(self) -> Any:
        trained = [each for each in self.parameters() if each.requires_grad]
        return torch.optim.SGD(trained, lr=0.1)


def noted(*given: Any) -> None:
    """Take note of the beginning of a training."""
    Path("order").write_text("fit ")


def size(batch: Any) -> int:
    """How many samples a batch has."""
    return len(batch[0])
