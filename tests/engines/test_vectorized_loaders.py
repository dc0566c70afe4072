"""Data loaders of a user's own in a stack: samples gathered once, in the order in which Lightning is given them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, WeightedRandomSampler

from driven import Kept, job
from own_modules import Loaders, Plain
from shoal.engines.job import Job
from shoal.engines.lightning import fit as fit_alone
from shoal.engines.sampled import NotGatherableError, Sampled
from shoal.engines.vectorized.driver import fit
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.running import Running
from shoal.losses import Own as OwnLoss
from shoal.models import Own as OwnModel
from shoal.optimizers import SGD
from shoal.tasks import LightningTask

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*", "ignore:.*does not have many workers.*", "ignore:.*have no `val_dataloader`.*"
)


class Noting(Plain):
    """Keeps the inputs it is given, by epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[int, list[Tensor]] = {}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.given.setdefault(self.current_epoch, []).append(batch[0])
        return super().training_step(batch, batch_idx)


class Whole(Loaders):
    """Leaves an incomplete batch out."""

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.samples[0], batch_size=15, shuffle=True, drop_last=True)


class Ordered(Loaders):
    """Has samples that stay in their order, and none for validation."""

    val_dataloader = pl.LightningDataModule.val_dataloader

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.samples[0], batch_size=16)


DATA: dict[str, Callable[[], Any]] = {
    "shuffled": Loaders,
    "its own generator": lambda: Loaders(generator=True),
    "whole batches": Whole,
    "ordered": Ordered,
}


def own_job(seed: int, data: Callable[[], Any], module: Callable[[], Any] = Plain) -> Job:
    task = LightningTask(module=module, datamodule=data, seed=seed)
    return job(seed, task=task, model=OwnModel(), loss=OwnLoss(), optimizer=SGD(lr=0.1), max_epochs=3)


@pytest.mark.parametrize("name", DATA)
def test_a_stack_has_the_samples_of_a_loader_in_the_order_of_each_epoch(name: str) -> None:
    alone = own_job(1, DATA[name], Noting)
    module: Any = alone.module()
    fit_alone(alone, module)

    batches, _ = own_job(1, DATA[name]).batches()

    for epoch in range(3):
        order = batches.order(epoch)[: len(batches) * batches.batch_size]
        assert torch.equal(batches.samples.x[order], torch.cat(module.given[epoch]))


@pytest.mark.parametrize("name", ["shuffled", "ordered"])
def test_a_stack_of_runs_with_loaders_trains_as_lightning_trains_each(name: str) -> None:
    running = Running([Member.of(own_job(seed, DATA[name])) for seed in range(3)])
    fit(running, Kept())

    alone = own_job(2, DATA[name])
    module = alone.module()
    fit_alone(alone, module)

    weights = running.checkpoint(2)["state_dict"]
    assert all(torch.allclose(weights[key], value, rtol=1e-12) for key, value in module.state_dict().items())


def test_gathering_leaves_generators_alone_and_keeps_equal_samples_once() -> None:
    samples = TensorDataset(torch.rand(20, 3), torch.rand(20, 1))
    own = torch.Generator().manual_seed(1)
    before = torch.get_rng_state(), own.get_state()

    one, other = (Sampled(DataLoader(samples, 4, shuffle=True, generator=own), 0, double=False) for _ in range(2))
    orders = [one.order(epoch) for epoch in (0, 1, 0)]

    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.equal(own.get_state(), before[1])
    assert torch.equal(orders[0], orders[2])
    assert not torch.equal(orders[0], orders[1])
    assert one.samples.x is other.samples.x


class Changing(Dataset[Any]):
    """Draws a part of each sample anew."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        return torch.ones(1) + torch.rand(1), torch.ones(1)


class Flowing(IterableDataset[Any]):
    """Gives samples one after the other."""

    def __iter__(self) -> Any:
        return iter([(torch.ones(1), torch.ones(1))] * 8)


FIXED = TensorDataset(torch.rand(8, 1), torch.rand(8, 1))


def _centered(samples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    x, y = (torch.stack(each) for each in zip(*samples, strict=True))
    return x - x.mean(), y


@pytest.mark.parametrize(
    ("loader", "words"),
    [
        (lambda: DataLoader(Changing(), 4), "change each time"),
        (lambda: DataLoader(Flowing(), 4), "one after the other"),
        (lambda: DataLoader(TensorDataset(torch.rand(8, 1)), 4), "no pairs"),
        (lambda: DataLoader(FIXED, 4, collate_fn=_centered), "depends on the batch"),
        (lambda: DataLoader(FIXED, 4, sampler=WeightedRandomSampler(torch.ones(8), 5)), "each sample once"),
        (lambda: DataLoader(TensorDataset(*[torch.zeros(1, 1).expand(1 << 20, 200)] * 2)), "GiB"),
        (lambda: [DataLoader(FIXED, 4)], "a list of its own kind"),
        (lambda: DataLoader(FIXED, batch_size=None), "of its own kind"),
    ],
)
def test_samples_that_cannot_be_gathered_are_refused_with_the_reason(loader: Callable[[], Any], words: str) -> None:
    with pytest.raises(NotGatherableError, match=words):
        Sampled(loader(), 0, double=False)


def test_a_job_whose_samples_cannot_be_gathered_says_why() -> None:
    class Drawing(Loaders):
        def train_dataloader(self) -> DataLoader[Any]:
            return DataLoader(Changing(), 4)

    assert own_job(0, Drawing).why_not_in_memory == "its samples change each time they are fetched"
    assert own_job(0, Loaders).why_not_in_memory is None
