"""How many runs share a block: by cache and memory, whatever the model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import styled
from shoal.engines.vectorized.size import FEWEST, MOST, Footprint
from shoal.losses import MeanSquaredError
from shoal.models import MLP
from shoal.optimizers import Adam
from shoal.schedulers import Constant
from shoal.seeding import Stream, generator
from shoal.step.captured import CapturedStep
from shoal.tasks import Parabola, Supervised

MIB = 1 << 20


def footprint(*hidden: int, batch: int) -> Footprint:
    task = Parabola(batch_size=batch)
    network: nn.Module = MLP(hidden=hidden).build(inputs=1, outputs=1, generator=generator(0, Stream.INITIALISATION))
    module = Supervised(
        model=network, task=task, loss=MeanSquaredError(), optimizer=Adam(), scheduler=Constant(), seed=0
    )
    return Footprint.of(CapturedStep(module, "train"), zeros(batch), samples=2048 * 8)


def zeros(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(batch, 1), torch.zeros(batch, 1)


def test_the_reference_work_is_stacked_by_256() -> None:
    assert footprint(32, 32, batch=128).most_within(cache=2 * MIB, memory=16 << 30) == 256


@pytest.mark.parametrize(("hidden", "batch", "runs"), [((8, 8), 16, MOST), ((128, 128), 128, FEWEST)])
def test_small_models_share_large_blocks_and_large_ones_small_blocks(
    hidden: tuple[int, ...], batch: int, runs: int
) -> None:
    assert footprint(*hidden, batch=batch).most_within(cache=2 * MIB, memory=16 << 30) == runs


def test_a_block_never_takes_more_than_its_share_of_the_memory() -> None:
    found = footprint(512, 512, batch=256)

    for memory in (1 << 30, 1 << 28, 1 << 26):
        runs = found.most_within(cache=2 * MIB, memory=memory)
        assert runs * found.held <= memory / 4 or runs == 1


def test_a_step_that_differentiates_by_torch_func_has_a_footprint() -> None:
    plain, sloped = (Footprint.of(CapturedStep(each(), "train"), zeros(128)) for each in (styled.Style, styled.Sloped))

    assert plain.touched < sloped.touched < 8 * plain.touched


def test_the_footprint_counts_what_the_backward_pass_keeps() -> None:
    found = footprint(32, 32, batch=128)

    outputs = 128 * (32 + 32) * 4
    assert outputs <= found.touched - 4 * 4 * 1153 <= 1.2 * outputs
