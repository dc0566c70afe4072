"""Data loaders of a user's own in a stack: samples gathered once, in the order in which Lightning is given them."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.combined_loader import CombinedLoader
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    WeightedRandomSampler,
    get_worker_info,
)
from torchmetrics import MeanSquaredError

from driven import Kept, job
from own_modules import Loaders, Plain
from shoal.engines.fixed_samples import NotGatherableError, fixed_samples
from shoal.engines.job import Job
from shoal.engines.lightning import fit as fit_alone
from shoal.engines.sampled import Sampled
from shoal.engines.stack.gathered import side_by_side
from shoal.engines.streamed import Streamed
from shoal.engines.vectorized.driver import fit
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.probing.likeness import unlike_alone
from shoal.engines.vectorized.running import Running
from shoal.losses import Own as OwnLoss
from shoal.models import Own as OwnModel
from shoal.optimizers import SGD
from shoal.tasks import LightningTask

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*",
    "ignore:.*ambiguous collection.*",
    "ignore:.*does not have many workers.*",
    "ignore:.*have no `val_dataloader`.*",
)


class Noting(Plain):
    """Keeps the inputs it is given, by epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[int, list[Any]] = {}
        self.judged: dict[int, list[Any]] = {}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.given.setdefault(self.current_epoch, []).append(batch)
        x, y = pytree.tree_leaves(batch)[:2]
        return super().training_step((x, y), batch_idx)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.judged.setdefault(self.current_epoch, []).append(batch)
        super().validation_step(pytree.tree_leaves(batch)[:2], batch_idx)


class Judged(Plain):
    """Is judged by several data sets, and looks at which one it is."""

    shares_name = False

    def __init__(self) -> None:
        super().__init__()
        self.errors = nn.ModuleList(MeanSquaredError() for _ in range(2))

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        super().validation_step(batch, batch_idx)
        x, y = batch
        self.log("val/place", 10.0 * dataloader_idx + batch_idx, on_step=True, on_epoch=True)
        self.log("val/mean" if self.shares_name else f"val/{dataloader_idx}", self(x).mean(), add_dataloader_idx=False)
        error = self.errors[dataloader_idx]
        error(self(x), y)
        self.log("val/error", error)


class JudgedByName(Judged):
    """Has one name for all of them."""

    shares_name = True


class JudgedByOne(Judged):
    """Has one metric for all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.errors[1] = self.errors[0]


class Named(Plain):
    """Takes a dictionary."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step((batch["x"], batch["more"][0]), batch_idx)


class Flagged(Named):
    """Does what its batch says."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        assert batch["mask"] is None
        return super().training_step(batch, batch_idx) * batch["scale"][batch["name"]]


class Whole(Loaders):
    """Leaves an incomplete batch out."""

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.samples[0], batch_size=15, shuffle=True, drop_last=True)


class Ordered(Loaders):
    """Has samples that stay in their order, and none for validation."""

    val_dataloader = pl.LightningDataModule.val_dataloader

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.samples[0], batch_size=16)


class Changing(Dataset[Any]):
    """Draws a part of each sample anew, from each of the global generators."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        return torch.full((1,), random.random() + numpy.random.rand()) + torch.rand(1), torch.tensor([float(place)])


class Redrawn(Changing):
    """Draws less: what checks arguments in tests draws from Python's generator too."""

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        return torch.full((1,), numpy.random.rand()) + torch.rand(1), torch.tensor([float(place)])


class Flowing(IterableDataset[Any]):
    """Gives samples one after the other, and does not say how many."""

    def __iter__(self) -> Any:
        return iter([(torch.full((1,), float(n)), torch.rand(1)) for n in range(10)])


class Yielding(IterableDataset[Any]):
    """Draws each sample when it is asked for, and shares them out among workers."""

    def __init__(self, n: int = 10, holds: Any = None) -> None:
        self.n = n
        self.holds = holds

    def __iter__(self) -> Any:
        worker = get_worker_info()
        for place in range(worker.id if worker else 0, self.n, worker.num_workers if worker else 1):
            yield torch.rand(1) + numpy.random.rand(), torch.tensor([float(place)])


class Holding(Dataset[Any]):
    """Draws from generators of its own, one of them within a transform."""

    def __init__(self) -> None:
        self.rng = numpy.random.default_rng(3)
        self.transform = partial(_shifted, rng=random.Random(4))

    def __len__(self) -> int:
        return 10

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        return self.transform(torch.full((1,), self.rng.random())), torch.tensor([float(place)])


def _shifted(x: Tensor, rng: random.Random) -> Tensor:
    return x + rng.random()


class Slicing:
    """A loader of a class of its own, which draws its order as it begins."""

    def __init__(self, *tensors: Tensor, generator: torch.Generator | None = None) -> None:
        self.tensors, self.generator = tensors, generator

    def __len__(self) -> int:
        return -(-len(self.tensors[0]) // 4)

    def __iter__(self) -> Any:
        order = torch.randperm(len(self.tensors[0]), generator=self.generator)
        return iter([tuple(each[part] for each in self.tensors) for part in order.split(4)])


FIXED = TensorDataset(torch.rand(10, 1), torch.rand(10, 1))
LENGTHS: Any = [torch.ones(length) for length in (3, 3, 3, 2, 3, 1)]
pad = partial(nn.utils.rnn.pad_sequence, batch_first=True)
TWICE = [2 * each for each in FIXED.tensors]


class Other(Loaders):
    """Has other data for training."""

    def __init__(self, train: Callable[[], Any], val: Callable[[], Any] | None = None) -> None:
        super().__init__()
        self.train = train
        self.val = val

    def train_dataloader(self) -> Any:
        return self.train()

    def val_dataloader(self) -> Any:
        return self.val() if self.val else super().val_dataloader()


class Turned(Other):
    """Changes each batch by itself."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch[0] + torch.rand(1), batch[1]


def _named(samples: list[tuple[Tensor, Tensor]]) -> dict[str, Any]:
    x, y = (torch.stack(each) for each in zip(*samples, strict=True))
    return {"x": x, "more": [y, (2 * y,)]}


def _flagged(samples: list[tuple[Tensor, Tensor]]) -> dict[str, Any]:
    return {**_named(samples), "name": "train", "scale": {"train": 0.5, "val": 1.0}, "mask": None}


def _centered(samples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    x, y = (torch.stack(each) for each in zip(*samples, strict=True))
    return x - x.mean(), y


def _by_threes() -> DataLoader[Any]:
    return DataLoader(FIXED, batch_sampler=BatchSampler(RandomSampler(FIXED), 3, drop_last=True))


def _marked(samples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, ...]:
    x, y = (torch.stack(each) for each in zip(*samples, strict=True))
    return (x, y) if len(samples) == 4 else (x, y, torch.ones(len(x)))


class Turning(SequentialSampler):
    """Begins at another sample each time."""

    times = 0

    def __iter__(self) -> Any:
        self.times += 1
        return iter([(place + self.times) % 10 for place in range(10)])


class Counting(Turning):
    """Counts how often it is asked, and begins at the first sample."""

    def __iter__(self) -> Any:
        super().__iter__()
        return iter(range(10))


WEIGHTED = WeightedRandomSampler(torch.arange(1.0, 11.0).tolist(), 7)
AGAIN = RandomSampler(range(10), replacement=True, num_samples=70)


def _turn(worker: int) -> None:
    torch.rand(1 + worker)


DATA: dict[str, Callable[[], Any]] = {
    "shuffled": Loaders,
    "its own generator": lambda: Loaders(generator=True),
    "whole batches": Whole,
    "ordered": Ordered,
    "named": lambda: Other(lambda: DataLoader(FIXED, 4, collate_fn=_named, shuffle=True)),
    "three": lambda: Other(lambda: DataLoader(TensorDataset(*FIXED.tensors, torch.arange(10)), 4, shuffle=True)),
    "weighted": lambda: Other(lambda: DataLoader(FIXED, 4, sampler=WEIGHTED)),
    "batches of its own": lambda: Other(_by_threes),
    "drawn anew": lambda: Other(lambda: DataLoader(Changing(), 4, shuffle=True)),
    "one after the other": lambda: Other(lambda: DataLoader(Flowing(), 4)),
    "made of a batch": lambda: Other(lambda: DataLoader(FIXED, 4, collate_fn=_centered)),
    "several": lambda: Other(lambda: [DataLoader(FIXED, 4, shuffle=True), DataLoader(FIXED, 6)]),
    "changed later": lambda: Turned(lambda: DataLoader(FIXED, 4)),
    "drawn when asked for": lambda: Other(lambda: DataLoader(Yielding(), 4), lambda: DataLoader(Yielding(), 3)),
    "shuffled by workers": lambda: Other(lambda: DataLoader(FIXED, 1, shuffle=True, num_workers=2)),
    "weighted, by workers": lambda: Other(lambda: DataLoader(FIXED, 4, sampler=AGAIN, num_workers=2)),
    "drawn by workers": lambda: Other(lambda: DataLoader(Changing(), 3, shuffle=True, num_workers=2)),
    "drawn by workers that stay": lambda: Other(
        lambda: DataLoader(Changing(), 3, num_workers=2, persistent_workers=True, worker_init_fn=_turn)
    ),
    "drawn by workers when asked for": lambda: Other(lambda: DataLoader(Yielding(), 2, num_workers=2)),
    "drawn from its own": lambda: Other(lambda: DataLoader(Holding(), 4), lambda: DataLoader(Holding(), 4)),
    "drawn from its own by workers": lambda: Other(lambda: DataLoader(Holding(), 4, num_workers=2)),
    "judged by others": lambda: Other(lambda: DataLoader(FIXED, 4, shuffle=True), lambda: DataLoader(Redrawn(), 4)),
    "judged by several": lambda: Other(
        lambda: DataLoader(FIXED, 4, shuffle=True), lambda: [DataLoader(FIXED, 4), DataLoader(TensorDataset(*TWICE), 3)]
    ),
    "judged by several that draw": lambda: Other(
        lambda: DataLoader(Redrawn(), 4),
        lambda: {"a": DataLoader(Redrawn(), 4), "b": DataLoader(Yielding(), 3)},
    ),
    "judged side by side": lambda: Other(
        lambda: DataLoader(FIXED, 4), lambda: CombinedLoader([DataLoader(Redrawn(), 4), DataLoader(FIXED, 3)])
    ),
    "in a dictionary": lambda: Other(lambda: {"a": DataLoader(Redrawn(), 4), "b": DataLoader(Yielding(30), 4)}),
    "as long as the shortest": lambda: Other(
        lambda: CombinedLoader([DataLoader(Redrawn(), 4), DataLoader(Yielding(30), 4)], "min_size")
    ),
    "judged in an order drawn as it is made": lambda: Other(
        lambda: DataLoader(FIXED, 4, shuffle=True), lambda: DataLoader(FIXED, 4, sampler=torch.randperm(10).tolist())
    ),
    "of a class of its own": lambda: Other(
        lambda: Slicing(*FIXED.tensors), lambda: Slicing(*FIXED.tensors, generator=torch.Generator())
    ),
    "not batched": lambda: Other(lambda: DataLoader(Changing(), batch_size=None)),
}
FLAGGED: dict[str, Callable[[], Any]] = {
    "flagged": lambda: Other(lambda: DataLoader(FIXED, 4, collate_fn=_flagged, shuffle=True)),
    "flagged, drawn anew": lambda: Other(lambda: DataLoader(Redrawn(), 4, collate_fn=_flagged)),
}
LONG = (
    *("weighted, by workers", "drawn by workers", "drawn from its own by workers"),
    *("drawn by workers that stay", "drawn by workers when asked for", "judged side by side", "drawn from its own"),
)
CUT = {"limit_train_batches": 2, "limit_val_batches": 2}


def own_job(seed: int, data: Callable[[], Any], module: Callable[[], Any] = Plain, **settings: Any) -> Job:
    task = LightningTask(module=module, datamodule=data, seed=seed)
    return job(seed, task=task, model=OwnModel(), loss=OwnLoss(), optimizer=SGD(lr=0.1), max_epochs=3, **settings)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *(pytest.param(name, {}, marks=[pytest.mark.long] * (name in LONG)) for name in DATA),
        ("drawn when asked for", CUT),
    ],
)
def test_a_stack_has_the_batches_that_lightning_gives_in_each_epoch(name: str, settings: Any) -> None:
    assert_the_same_batches(name, **settings)


def assert_the_same_batches(name: str, **settings: Any) -> None:
    """That a stack has the batches of this data in each epoch that Lightning gives."""
    alone = own_job(1, DATA[name], Noting, **settings)
    module: Any = alone.module()
    fit_alone(alone, module)

    train, val = own_job(1, DATA[name], Noting, **settings).sources()
    for epoch in range(3):
        for sources, given in (([train], module.given), (val, module.judged)):
            every = [side_by_side([each, each]) for each in sources]
            found = [batch for batches in every for batch in batches.epoch(epoch, dtype=torch.float64)]
            assert len(found) == len(given.get(epoch, ())) == sum(map(len, every))
            if not found:
                continue
            for mine, theirs in zip(found, given[epoch], strict=True):
                assert equal(pytree.tree_map(lambda leaf: leaf[1], mine), theirs)


def test_workers_that_lightning_seeds_draw_the_same_in_a_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_SEED_WORKERS", "1")

    assert_the_same_batches("drawn by workers when asked for")


def equal(one: Any, other: Any) -> bool:
    leaves, structure = pytree.tree_flatten(one)
    others, theirs = pytree.tree_flatten(other)
    return structure == theirs and all(torch.equal(mine, its) for mine, its in zip(leaves, others, strict=True))


SELDOM = {"check_val_every_n_epoch": 2, "limit_val_batches": 1}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, {}) for name in ["shuffled", "drawn when asked for", "judged by others", "named", *FLAGGED]),
        # With validations after the first epoch only, Lightning makes the loaders for them later.
        ("judged in an order drawn as it is made", SELDOM),
        ("of a class of its own", SELDOM),
    ],
)
def test_a_stack_of_runs_with_loaders_trains_as_lightning_trains_each(name: str, settings: Any) -> None:
    module_class = Flagged if name in FLAGGED else Named if name == "named" else Plain
    data = {**DATA, **FLAGGED}[name]
    running = Running([Member.of(own_job(seed, data, module_class, **settings)) for seed in range(3)])
    kept = Kept()
    fit(running, kept)

    alone = own_job(2, data, module_class, **settings)
    module = alone.module()
    trainer = fit_alone(alone, module)

    weights = running.checkpoint(2)["state_dict"]
    measured = [row.metrics["val/loss"] for row in kept.rows[2] if "val/loss" in row.metrics]
    assert measured[-1] == pytest.approx(float(trainer.callback_metrics["val/loss"]), rel=1e-12)
    assert all(torch.allclose(weights[key], value, rtol=1e-12) for key, value in module.state_dict().items())


@pytest.mark.parametrize("name", ["judged by several", "judged by several that draw"])
def test_each_of_several_loaders_for_validation_has_columns_of_its_own(name: str) -> None:
    running = Running([Member.of(own_job(seed, DATA[name], Judged)) for seed in range(2)])
    assert unlike_alone(running) == {}
    kept = Kept()
    fit(running, kept)

    alone = own_job(1, DATA[name], Judged)
    expected = fit_alone(alone, alone.module()).callback_metrics

    assert {"val/loss/dataloader_idx_1", "val/place_epoch/dataloader_idx_1", "val/1"} <= set(expected)
    assert {each: kept.curve(1, each)[-1] for each in expected} == pytest.approx(
        {each: float(value) for each, value in expected.items()}, rel=1e-12
    )


@pytest.mark.parametrize(("module", "words"), [(JudgedByName, "logs val/mean of several"), (JudgedByOne, "val/error")])
def test_what_data_loaders_for_validation_must_not_share_is_named(module: type[Judged], words: str) -> None:
    running = Running([Member.of(own_job(seed, DATA["judged by several"], module)) for seed in range(2)])

    assert words in unlike_alone(running)[0]


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
    assert one.tensors[0] is other.tensors[0]


@pytest.mark.parametrize(
    ("loader", "words"),
    [
        (lambda: DataLoader(Changing(), 4), "drawn each time"),
        (lambda: DataLoader(Flowing(), 4), "one after the other"),
        (lambda: DataLoader(["a", "b"], 2), "not of tensors alone"),
        (lambda: DataLoader(FIXED, 4, collate_fn=_centered), "depends on the batch"),
        (lambda: DataLoader(LENGTHS, 4, collate_fn=pad), "depends on the batch"),
        (lambda: DataLoader(FIXED, 4, collate_fn=_marked), "depends on the batch"),
        (lambda: DataLoader(FIXED, 4, sampler=Turning(FIXED)), "how often it was drawn"),
        (lambda: DataLoader(FIXED, 4, sampler=Counting(FIXED)), "how often it was drawn"),
        (lambda: DataLoader(TensorDataset(*[torch.zeros(1, 1).expand(1 << 20, 200)] * 2)), "GiB"),
        (lambda: [DataLoader(FIXED, 4)], "a list of its own kind"),
        (lambda: DataLoader(FIXED, batch_size=None), "of its own kind"),
    ],
)
def test_samples_that_cannot_be_gathered_are_refused_with_the_reason(loader: Callable[[], Any], words: str) -> None:
    with pytest.raises(NotGatherableError, match=words):
        Sampled(loader(), 0, double=False)


class Gaps(Dataset[Any]):
    """Samples of which some values are not a number; where they are may move each time."""

    def __init__(self, *, move: bool) -> None:
        self.move, self.times = move, 0

    def __len__(self) -> int:
        return 12

    def __getitem__(self, place: int) -> Tensor:
        self.times += self.move
        return torch.tensor([place, torch.nan if (place + self.times) % 5 == 0 else 0.0, torch.inf])


def test_samples_with_gaps_are_gathered_unless_the_gaps_move() -> None:
    [found], _ = fixed_samples(Gaps(move=False), torch.stack)

    assert found[:, 1].isnan().nonzero().flatten().tolist() == [0, 5, 10]
    with pytest.raises(NotGatherableError, match="change each time"):
        fixed_samples(Gaps(move=True), torch.stack)


class Annealed(Plain):
    """Weighs its loss by a setting of its own once it has trained for an epoch."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.save_hyperparameters()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss: Tensor = super().training_step(batch, batch_idx)
        return loss * self.hparams["weight"] if self.current_epoch else loss


def test_a_setting_that_counts_in_a_later_epoch_is_seen_before_the_first() -> None:
    jobs = [own_job(0, Loaders, partial(Annealed, weight)) for weight in (1.0, 0.5, 1.0)]

    found = unlike_alone(Running([Member.of(job) for job in jobs]))

    assert list(found) == [1]
    assert "gives another loss alone" in found[1]


def test_what_a_stack_cannot_have_of_a_loader_is_said() -> None:
    words = own_job(0, lambda: Other(lambda: DataLoader(["a", "b"], 2)))
    counting = own_job(0, lambda: Other(lambda: DataLoader(FIXED, 4, sampler=Counting(FIXED))))
    in_turn = own_job(0, lambda: Other(lambda: CombinedLoader([DataLoader(FIXED, 4)], "sequential")))

    assert str(counting.why_without_sources).startswith("its batches depend on how often they were drawn")
    assert in_turn.why_without_sources == "Lightning trains on no several loaders in the mode sequential"
    assert words.why_without_sources == "its batches hold no tensors with a row for each sample"
    assert own_job(0, Loaders).why_without_sources is None


class Shrinking(IterableDataset[Any]):
    """Has a sample less each time."""

    def __init__(self) -> None:
        self.left = [13]

    def __iter__(self) -> Any:
        self.left[0] -= 1
        return iter([(torch.ones(1), torch.ones(1))] * self.left[0])


def test_a_loader_that_has_another_number_of_batches_later_ends_the_stack() -> None:
    source = Streamed(DataLoader(Shrinking(), 1), 0, None, double=False)

    assert len(source) == 10
    with pytest.raises(RuntimeError, match="gives 9 batches in epoch 1, and 10 in the first one"):
        list(source.epoch(1))
