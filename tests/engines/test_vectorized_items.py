"""Modules that take numbers out of tensors with `.item()`, to log, keep or compute with them, stack."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn

from beside_lightning import is_as_alone
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.probing.likeness import unlike_alone
from shoal.engines.vectorized.running import Running
from styled import Style, job_of

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*does not have many workers.*")


class LogsItems(Style):
    """Logs numbers, a share of them by Python's arithmetic, and means of what it has kept."""

    def made(self) -> None:
        self.kept: list[Any] = []
        self.found: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        positive = (batch[1] > 0.2).sum().item()
        self.log("share", 100 * positive / len(batch[1]), on_step=False, on_epoch=True)
        self.log("item", loss.item() ** 0.5 - 1, on_step=False, on_epoch=True)
        self.kept.append(loss.item())
        self.found.append({"positive": positive, "n": len(batch[1]), "number": batch_idx})
        return loss * (1 + abs(-loss.item()) / 2)

    def on_train_epoch_end(self) -> None:
        assert all(type(each) is float for each in self.kept)
        assert all(type(each) is int for found in self.found for each in found.values())
        self.log("kept", float(numpy.mean(self.kept)))
        self.log("found", sum(found["positive"] * found["number"] for found in self.found) / 7)
        self.kept.clear()
        self.found.clear()


class Normalizes(Style):
    """Divides losses by numbers that it has taken out of them, and of each other."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        one, other = super().training_step(batch, batch_idx), self.layers[0].weight.square().sum()
        scale = one.item() / (other.item() + 1)
        return one + scale * other + nn.functional.relu(other - scale) + (torch.ones(3).to(other) * scale).sum()


@pytest.mark.parametrize("module", [LogsItems, Normalizes])
def test_a_run_that_takes_numbers_out_of_tensors_is_as_it_is_alone(module: Any) -> None:
    assert is_as_alone(module).steps.train.refused is None


class Branches(Style):
    """Branches on such a number."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        number = loss.item()
        return loss * 2 if number > 0.5 else loss


class Writes(Style):
    """Writes such a number into a text."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.said = f"{loss.item():.3f}"
        return loss


@pytest.mark.parametrize(
    ("module", "words"),
    [(Branches, "branches on a tensor's value: torch.where"), (Writes, "takes a tensor's value")],
)
def test_who_needs_the_number_itself_trains_alone_with_the_line(module: Any, words: str) -> None:
    found = unlike_alone(Running([Member.of(job_of(module, seed)) for seed in (0, 1)]))

    assert words in found[0]
    assert "test_vectorized_items.py" in found[0]
