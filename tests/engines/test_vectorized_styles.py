"""What modules keep and change beside their weights: in a stack it is as alone, or it is named before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils import weight_norm as older_weight_norm
from torch.utils.data import DataLoader, Dataset, TensorDataset, random_split

from driven import Kept, job
from own_modules import Regression
from shoal.engines import lightning
from shoal.engines.job import Job
from shoal.engines.step.unfit import CannotStackError
from shoal.engines.vectorized.driver import fit
from shoal.engines.vectorized.likeness import unlike_alone
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.probe import reason
from shoal.engines.vectorized.running import Running
from shoal.losses import Own as OwnLoss
from shoal.models import Own as OwnModel
from shoal.optimizers import Own as OwnOptimizer
from shoal.sweeps.plan import why_alone
from shoal.tasks import LightningTask, Parabola

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*",
    "ignore:.*LeafSpec.*",
    "ignore:.*weight_norm.*deprecated.*",
    "ignore:.*have no `val_dataloader`.*",
)
EPOCHS = 4


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


class Assigns(Style):
    """Puts another tensor in the place of a buffer."""

    def made(self) -> None:
        self.register_buffer("seen", torch.zeros(()))

    def penalty(self) -> Tensor:
        self.seen = self.seen + self.layers[0].weight.detach().sum()
        return self.seen * self.layers[0].weight.sum()


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


class Normed(Style):
    """Has layers whose weights hooks make, of torch's older kinds and its newer."""

    def made(self) -> None:
        one, two, three, four = (nn.Linear(3, 3) for _ in range(4))
        prune.l1_unstructured(four, "weight", 0.5)
        normed = [nn.utils.spectral_norm(one), nn.utils.parametrizations.spectral_norm(two), older_weight_norm(three)]
        self.layers = nn.Sequential(nn.Linear(1, 3), *normed, nn.Tanh(), four, nn.Linear(3, 1))


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


class Scaled(Dataset[Any]):
    """A line whose slope somebody may change."""

    slope = 1.0

    def __len__(self) -> int:
        return 40

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        x = torch.tensor([place / 40])
        return x, self.slope * x


class Line(pl.LightningDataModule):
    """Samples of such a line."""

    def __init__(self) -> None:
        super().__init__()
        self.samples = Scaled()

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.samples, 10, collate_fn=self.collated)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.samples, 10)

    def collated(self, samples: Any) -> Any:
        """A batch of them."""
        x, y = zip(*samples, strict=True)
        return torch.stack(x), torch.stack(y)


class ByEpoch(Line):
    """Makes another batch in each epoch."""

    def collated(self, samples: Any) -> Any:
        x, y = super().collated(samples)
        return x, y * (1 + self.trainer.current_epoch)


class Noisy(Line):
    """Changes the batches that it trains on, as Lightning's documentation has it."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        x, y = batch
        return (x + torch.rand(()) if self.trainer.training else x), y

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return [each.to(device) for each in batch]


class Tiring(Line):
    """Gives less each time."""

    n = 0

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.n += 1
        return batch[0] / self.n, batch[1]


class AsksStep(Line):
    """Makes its batches by the step of the training."""

    def collated(self, samples: Any) -> Any:
        x, y = super().collated(samples)
        return x, y * (1 + self.trainer.global_step)


def made(module: type[pl.LightningModule], seed: int, data: Callable[[], Any] | None = None, **settings: Any) -> Job:
    own = data is not None or hasattr(module, "parts") or "train_dataloader" in vars(module)
    given = {"datamodule": data} if own else {"samples": Parabola(seed=seed, n_samples=40, batch_size=10)}
    task = LightningTask(seed=seed, module=module, **given)
    return job(
        seed, task=task, model=OwnModel(), loss=OwnLoss(), optimizer=OwnOptimizer(), max_epochs=EPOCHS, **settings
    )


@pytest.mark.parametrize(
    ("module", "data"),
    [
        *(
            (each, None)
            for each in (Annealed, Assigns, Checks, Normed, Unused, UnusedByObject, UnusedByObjects, Prepares)
        ),
        (Style, ByEpoch),
        (Style, Noisy),
    ],
)
def test_a_stack_of_such_modules_gives_what_each_of_them_gives_alone(module: Any, data: Any) -> None:
    running, kept = Running([Member.of(made(module, seed, data)) for seed in (0, 1)]), Kept()
    running.steps.guard.on = False
    assert unlike_alone(running) == {}
    fit(running, kept)

    own = made(module, 1, data)
    alone = own.module()
    with lightning.expected_warnings():
        expected = lightning.fit(own, alone).callback_metrics

    found = running.checkpoint(1)["state_dict"]
    assert all(torch.allclose(found[name], value, rtol=1e-12) for name, value in alone.state_dict().items())
    assert {name: kept.curve(1, name)[-1] for name in expected} == pytest.approx(
        {name: float(value) for name, value in expected.items()}, rel=1e-12
    )


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


class HoldsItself(Style):
    """Makes its batches of its own state."""

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(Scaled(), 10, collate_fn=self.collated)

    def collated(self, samples: Any) -> Any:
        """A batch by the epoch."""
        x, y = zip(*samples, strict=True)
        return torch.stack(x), torch.stack(y) * self.current_epoch


@pytest.mark.parametrize(
    ("module", "data", "words"),
    [
        (Keeps, None, "changes self.losses_of"),
        (KeepsLatest, None, "changes self.latest"),
        (CountsWithin, None, "changes self.count"),
        (CountsInArray, None, "changes self.count"),
        (ScalesGradient, None, "layers.0.weight has a hook of its own for its gradient"),
        (ClampsGradient, None, "layers.0.weight has a hook of its own for its gradient"),
        (TakesTurns, None, "reaches other parameters with its gradient than before"),
        (HoldsItself, None, "they hold HoldsItself itself, which changes while it trains"),
        (Style, Tiring, "its batches depend on how often they were drawn"),
        (Style, AsksStep, "its samples depend on trainer.global_step"),
    ],
)
def test_what_no_stack_can_follow_is_named_before_it_trains(module: Any, data: Any, words: str) -> None:
    one = made(module, 0, data)

    why = (
        why_alone(one, one.module())
        or unlike_alone(Running([Member.of(made(module, seed, data)) for seed in (0, 1)]))[0]
    )

    assert words in why


class Recovers(Style):
    """Has numbers in its second epoch that are none, and goes on."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx) * (torch.nan if self.current_epoch else 1.0)
        return self.layers[0].weight.square().sum() if torch.isnan(loss) else loss


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


class Switches(TakesTurns):
    """Trains one of two layers, by the epoch."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step(batch, self.current_epoch)


@pytest.mark.parametrize(
    ("module", "data", "words"),
    [
        (Steepens, Line, "changes the DataModule, which gives each run its samples"),
        (SteepensOwn, None, "changes self.samples, of which its samples may be made"),
        (Recovers, None, "asks whether its numbers are finite, and they are not"),
        (Switches, None, "reaches other parameters with its gradient than before"),
    ],
)
def test_what_no_stack_can_follow_ends_it_where_it_comes_up(module: Any, data: Any, words: str) -> None:
    running = Running([Member.of(made(module, seed, data)) for seed in (0, 1)])

    with pytest.raises(CannotStackError) as error:
        fit(running, Kept())

    assert words in reason(error.value, running.members[0].module)
