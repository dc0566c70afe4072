"""Global generators: code that draws from them is given its own numbers, and nobody else's change."""

from __future__ import annotations

import random
from typing import Any

import numpy
import pytest
import torch

from shoal.seeding import Stream, generators_restored, global_generator, seed_global


class Gpu:
    """The generator of a GPU, where there is none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state = torch.zeros(1, dtype=torch.uint8)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: [self.state.clone()])
        monkeypatch.setattr(torch.cuda, "set_rng_state_all", lambda states: setattr(self, "state", states[0]))
        monkeypatch.setattr(torch.cuda, "manual_seed_all", self.seed)

    def seed(self, seed: int) -> None:
        self.state = torch.tensor([1 + seed % 200], dtype=torch.uint8)


def states(gpu: Gpu) -> Any:
    return [random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist(), gpu.state.tolist()]


def test_code_on_a_stream_of_its_own_moves_no_generator_of_a_gpu_or_another(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(monkeypatch)
    before = states(gpu)

    with global_generator(3, Stream.USER, 5):
        one = states(gpu), torch.rand(2).tolist(), random.random()
    with global_generator(3, Stream.USER, 5):
        again = states(gpu), torch.rand(2).tolist(), random.random()

    assert one == again
    assert one[0][3] != before[3]
    assert states(gpu) == before


def test_generators_that_are_seeded_meanwhile_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(monkeypatch)
    before = states(gpu)

    with generators_restored():
        seed_global(7)
        moved = states(gpu)

    assert all(now != then for now, then in zip(moved, before, strict=True))
    assert states(gpu) == before
