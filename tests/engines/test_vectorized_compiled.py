"""Modules that hold what `torch.compile` was given stack: it is taken as it is written, and never compiled."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest
import torch
from torch import Tensor

from beside_lightning import trained
from styled import Style

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*does not have many workers.*")


def never(graph: Any, inputs: Any) -> NoReturn:
    raise AssertionError("compiled for one run")


@torch.compile(backend=never)
def doubled(x: Tensor) -> Tensor:
    return 2 * x


class Wrapped(Style):
    """Its layers are in a compiled module."""

    def made(self) -> None:
        self.layers = torch.compile(self.layers, backend=never)


class InPlace(Style):
    """Its layers are compiled where they are, and a hook calls them, too."""

    def made(self) -> None:
        self.layers.compile(backend=never)

    def on_train_epoch_end(self) -> None:
        self.log("at_zero", self.layers(torch.zeros(1, 1, dtype=self.layers[0].weight.dtype)).sum())


class OfFunction(Style):
    """Has a penalty of a compiled function."""

    def penalty(self) -> Tensor:
        return doubled(self.layers[2].weight).square().mean()


class Plainly(Style):
    """The same without a compiler."""

    def penalty(self) -> Tensor:
        return (2 * self.layers[2].weight).square().mean()


@pytest.mark.parametrize(("kind", "plain"), [(Wrapped, Style), (InPlace, Style), (OfFunction, Plainly)])
def test_what_is_given_to_the_compiler_has_the_bits_of_what_is_not(kind: Any, plain: Any) -> None:
    running, _ = trained(kind, (0, 1))
    expected, _ = trained(plain, (0, 1))

    assert running.steps.train.refused is None
    for run in (0, 1):
        own, other = (each.checkpoint(run)["state_dict"].values() for each in (running, expected))
        assert all(map(torch.equal, own, other))
