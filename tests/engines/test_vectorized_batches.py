"""What the batches of a stack hold beside tensors: objects, names, and values that differ from batch to batch."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from itertools import cycle
from typing import Any

import numpy
import pytest
import torch
from pytorch_lightning.utilities.combined_loader import CombinedLoader
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from driven import Kept, job
from own_modules import Loaders, Plain
from shoal.engines.job import Job
from shoal.engines.lightning import fit as fit_alone
from shoal.engines.streamed import Streamed
from shoal.engines.vectorized.driver import fit
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.probing.likeness import unlike_alone
from shoal.engines.vectorized.running import Running
from shoal.losses import Own as OwnLoss
from shoal.models import Own as OwnModel
from shoal.optimizers import SGD
from shoal.step.batch_parts import as_given, formed
from shoal.tasks import LightningTask

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*", "ignore:.*does not have many workers.*", "ignore:.*ambiguous collection.*"
)

SAMPLES = TensorDataset(torch.rand(10, 1), torch.rand(10, 1))
Samples = list[tuple[Tensor, Tensor]]


@dataclass
class Sample:
    """A batch as an object, with names and a day that no step looks at."""

    x: Tensor
    y: Tensor
    names: list[str] = field(default_factory=list)
    n: int = 0
    day: date | None = None


class Labels:
    """Has no tensors, is no container, and says by itself where a name is."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def place(self, name: str) -> int:
        return self.names.index(name)


class Unsendable:
    """Cannot be pickled."""

    def __reduce__(self) -> Any:
        raise TypeError("cannot be sent")


def _both(samples: Samples) -> tuple[Tensor, Tensor]:
    x, y = (torch.stack(each) for each in zip(*samples, strict=True))
    return x, y


def _named(samples: Samples) -> Any:
    return Sample(*_both(samples), [f"{float(x):.6f}" for x, _ in samples], len(samples), _day(samples))


def _day(samples: Samples) -> date:
    return date.fromordinal(1 + int(1000 * samples[0][0]))


class Another(Sample):
    """A batch of another class."""


KINDS = cycle([Sample, Another])


def _of_two_kinds(samples: Samples) -> Any:
    return next(KINDS)(*_both(samples))


def _of_columns(samples: Samples) -> dict[str, Any]:
    """As a table: its columns by the names that an object has."""
    return {"table": torch.cat(_both(samples), 1), "columns": Labels("x", "y"), "static": None}


def _more(samples: Samples) -> Any:
    x, y = _both(samples)
    places = numpy.array([float(each) for each in x])
    return UserDict(x=x, y=y, places=places, file=Unsendable(), scale=torch.tensor(0.5), first=float(places[0]))


class OfObject(Plain):
    """Reads its batch by attributes."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step(self.pair(batch), batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(self.pair(batch), batch_idx)

    def pair(self, batch: Any) -> tuple[Tensor, Tensor]:
        return batch.x * batch.n, batch.y


class OfColumns(OfObject):
    """Asks an object of its batch where a column is."""

    def pair(self, batch: Any) -> tuple[Tensor, Tensor]:
        assert batch["static"] is None
        x, y = (batch["table"][:, batch["columns"].place(name), None] for name in "xy")
        return x, y


class OfMore(OfObject):
    """Takes the tensors out of its batch, whatever else there is."""

    def pair(self, batch: Any) -> tuple[Tensor, Tensor]:
        tensors = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
        assert not hasattr(batch["places"], "to")
        return tensors["x"] * tensors["scale"], tensors["y"]


class Looking(OfObject):
    """Makes something of a value of its batch."""

    def __init__(self, look: Callable[[Any], Any]) -> None:
        super().__init__()
        self.look = look

    def pair(self, batch: Any) -> tuple[Tensor, Tensor]:
        self.look(batch.names)
        return super().pair(batch)


class Given(Loaders):
    """Has these samples, put together in this way."""

    def __init__(self, collate: Callable[[Samples], Any], dataset: Any = SAMPLES) -> None:
        super().__init__()
        self.collate, self.dataset = collate, dataset

    def train_dataloader(self) -> Any:
        return DataLoader(self.dataset, 4, collate_fn=self.collate, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self.dataset, 4, collate_fn=self.collate)


def own_job(seed: int, data: Callable[[], Any], module: Callable[[], Any], **settings: Any) -> Job:
    task = LightningTask(module=module, datamodule=data, seed=seed)
    # In single precision, since Lightning makes doubles of what it finds in containers alone.
    settings = {"max_epochs": 2, "precision": "32-true", **settings}
    return job(seed, task=task, model=OwnModel(), loss=OwnLoss(), optimizer=SGD(lr=0.1), **settings)


def stack(data: Callable[[], Any], module: Callable[[], Any], n: int = 3) -> Running:
    return Running([Member.of(own_job(seed, data, module)) for seed in range(n)])


@pytest.mark.parametrize(("collate", "module"), [(_named, OfObject), (_of_columns, OfColumns), (_more, OfMore)])
def test_objects_of_tensors_and_other_values_train_in_a_stack_as_alone(
    collate: Callable[[Samples], Any], module: type[OfObject]
) -> None:
    running = stack(partial(Given, collate), module)
    assert unlike_alone(running) == {}
    kept = Kept()
    fit(running, kept)

    alone = own_job(2, partial(Given, collate), module)
    expected = alone.module()
    trainer = fit_alone(alone, expected)

    weights = running.checkpoint(2)["state_dict"]
    assert kept.curve(2, "val/loss")[-1] == pytest.approx(float(trainer.callback_metrics["val/loss"]), rel=1e-5)
    assert all(torch.allclose(weights[key], value, rtol=1e-5) for key, value in expected.state_dict().items())


@pytest.mark.parametrize(
    "look",
    [bool, len, str, iter, lambda names: names[0], lambda names: names == ["a"], lambda names: names.index("a")],
)
def test_a_step_that_looks_at_what_differs_from_batch_to_batch_is_told(look: Callable[[Any], Any]) -> None:
    running = stack(partial(Given, _named), partial(Looking, look), 2)

    found = unlike_alone(running)

    assert "looks at a value in batch, which differs from batch to batch" in found[1]


def test_objects_that_differ_in_more_than_values_are_refused_with_the_reason() -> None:
    found = own_job(0, partial(Given, _of_two_kinds), OfObject)

    assert found.why_without_sources == "its batches hold objects that differ in more than tensors, names and numbers"


def test_an_object_put_together_again_is_like_the_one_taken_apart() -> None:
    given = Sample(torch.rand(2, 1), torch.rand(2, 1), names=["a", "b"], n=2, day=date(2020, 1, 1))

    found = as_given(formed({"sample": given, "twice": [given.x, given.x]}))

    assert vars(found["sample"]) == vars(given)
    assert found["sample"].x is found["twice"][0] is found["twice"][1]


def _filled(samples: Samples) -> tuple[Tensor, Tensor]:
    """As long as the first sample asks for."""
    x, y = _both(samples)
    return x.repeat(1, 1 + int(1000 * samples[0][0]) % 4), y


class OfLengths(OfObject):
    """Takes samples of any length."""

    def pair(self, batch: Any) -> tuple[Tensor, Tensor]:
        return batch[0][:, :1], batch[1]


def test_batches_of_other_shapes_in_other_runs_are_told_with_the_shapes() -> None:
    found = unlike_alone(stack(partial(Given, _filled), OfLengths, 6))

    assert "is given batches of other shapes in other runs, as 4x" in found[0]
    assert set(found) == set(range(6))


class Apart(Given):
    """Two loaders side by side, of which the shorter one gives None in the end."""

    def __init__(self) -> None:
        super().__init__(_both)

    def train_dataloader(self) -> Any:
        short = DataLoader(TensorDataset(*[each[:5] for each in SAMPLES.tensors]), 4)
        return CombinedLoader({"a": super().train_dataloader(), "b": short}, "max_size")


class OfBoth(Plain):
    """Takes what there is."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch["a"], batch_idx)
        return loss if batch["b"] is None else loss + self(batch["b"][0]).mean()


def test_a_loader_that_ends_before_another_is_none_in_a_stack_too() -> None:
    running = stack(Apart, OfBoth)
    fit(running, Kept())

    alone = own_job(2, Apart, OfBoth)
    expected = alone.module()
    fit_alone(alone, expected)

    weights = running.checkpoint(2)["state_dict"]
    assert all(torch.allclose(weights[key], value, rtol=1e-5) for key, value in expected.state_dict().items())


class Renamed(IterableDataset[Any]):
    """Names its samples anew each time."""

    times = 0

    def __iter__(self) -> Any:
        return iter([{"x": torch.ones(1), "name": self.times}] * 4)


def test_a_value_that_changes_in_a_later_epoch_ends_the_stack() -> None:
    samples = Renamed()
    source = Streamed(DataLoader(samples, 2, collate_fn=lambda each: each[0]), 0, None, double=False)

    samples.times = 1

    with pytest.raises(RuntimeError, match="batch 0 of epoch 1 holds other values beside its tensors"):
        list(source.epoch(1))
