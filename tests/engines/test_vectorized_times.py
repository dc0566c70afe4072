"""Modules whose steps look at the time, or at what hooks set for each epoch: traced, and as each run is alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from beside_lightning import is_as_alone, trained
from driven import Kept
from shoal.engines.vectorized.driver import fit
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.running import Running
from styled import Style, job_of

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*does not have many workers.*")


class WarmsUp(Style):
    """Weighs a penalty by the steps done, and logs and keeps what it weighs it by."""

    def made(self) -> None:
        self.weights: list[Any] = []

    def penalty(self) -> Tensor:
        weight = min(1.0, self.global_step / 9)
        self.log("weight", weight, on_step=False, on_epoch=True)
        self.weights.append(self.layers[0].weight.detach().sum() * weight)
        return weight * self.layers[0].weight.square().sum()

    def on_train_epoch_end(self) -> None:
        self.log("weights", torch.stack(self.weights).sum())
        self.weights.clear()


class TakesTurns(Style):
    """Has another loss for each second batch, and from the third epoch on."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss * (2 if batch_idx % 2 else 1) if self.current_epoch < 2 else loss.sqrt()


class SetByHook(Style):
    """Its hook sets numbers, flags and names for an epoch."""

    def on_train_epoch_start(self) -> None:
        self.scale, self.late = 0.5**self.current_epoch, self.current_epoch > 1
        self.stage = "first" if self.current_epoch < 3 else "last"

    def penalty(self) -> Tensor:
        found = self.scale * self.layers[0].weight.square().sum()
        found = found + 1.5 * self.layers[2].weight.square().sum() if self.late else found
        return found * (2 if self.stage == "last" else 1)


class SetsWithin(SetByHook):
    """Its step sets what the hook has set, before it looks at it."""

    def penalty(self) -> Tensor:
        self.scale = self.global_step / 9
        return self.scale * self.layers[0].weight.square().sum()


class AsksLater(Style):
    """Asks for the number itself from some epoch on."""

    def penalty(self) -> Tensor:
        share = self.current_epoch / 8 if self.current_epoch < 2 else math.exp(-self.current_epoch)
        return share * self.layers[0].weight.square().sum()


class Counts(Style):
    """Keeps the number of the batch and the epoch."""

    def made(self) -> None:
        self.seen: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.seen.append({"loss": self.layers[0].weight.detach().sum(), "place": (batch_idx, self.current_epoch)})
        return super().training_step(batch, batch_idx)

    def on_train_epoch_end(self) -> None:
        self.log("places", float(sum(number + 10 * epoch for number, epoch in (each["place"] for each in self.seen))))
        self.seen.clear()


class Indexes(Style):
    """Asks for a number itself."""

    def penalty(self) -> Tensor:
        return [0.1, 0.2, 0.3, 0.4][self.current_epoch] * self.layers[0].weight.square().sum()


TIMED = (WarmsUp, TakesTurns, SetByHook, SetsWithin, AsksLater, Counts, Indexes)


@pytest.mark.parametrize("module", TIMED)
def test_a_run_whose_step_looks_at_the_time_is_as_it_is_alone(module: Any) -> None:
    is_as_alone(module)


@pytest.mark.parametrize("module", TIMED)
def test_a_stack_whose_steps_look_at_the_time_goes_on_to_the_bit(module: Any) -> None:
    whole, kept = trained(module, (0, 1), save_after=2)

    resumed = Running([Member.of(job_of(module, seed)) for seed in (0, 1)])
    resumed.load_state_dict(kept.saved)
    fit(resumed, Kept())

    for run in (0, 1):
        found = resumed.checkpoint(run)["state_dict"]
        assert all(torch.equal(found[name], value) for name, value in whole.checkpoint(run)["state_dict"].items())


@pytest.mark.parametrize(
    ("module", "traced"), [(WarmsUp, True), (TakesTurns, True), (SetByHook, True), (Counts, True), (Indexes, False)]
)
def test_steps_that_look_at_the_time_are_traced_unless_they_ask_for_it(module: Any, traced: bool) -> None:
    running, _ = trained(module, (0, 1))

    assert (running.steps.train.refused is None) == traced
