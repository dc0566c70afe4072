"""Orders drawn for many runs at once: those of torch's generator, whatever their length."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from shoal.engines.stack import gathered, permutations
from shoal.engines.stack.gathered import Gathered
from shoal.engines.stack.permutations import Permutations, by_torch
from shoal.step.compiled.library import CannotCompileError, Library
from shoal.tasks.batches import Batches
from shoal.tasks.data import Split

SEEDS = [0, 1, 12345678901, 2**32 - 1, 2**62 - 7, 2**63 - 1]


@pytest.fixture
def at_once(compiled_at_once: None) -> Permutations:
    return Permutations(pays=0)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 100, 623, 624, 625, 626, 1248, 1249, 1250, 1638, 5000, 200_000])
def test_orders_drawn_at_once_are_those_of_torch(at_once: Permutations, n: int) -> None:
    for seeds in (SEEDS, [seed ^ 99 for seed in SEEDS]):
        assert torch.equal(at_once(seeds, n), by_torch(seeds, n))

    assert at_once._agrees == {n: True}


def test_an_order_that_is_not_torchs_is_drawn_by_torch(at_once: Permutations, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_once, "_compiled", lambda seeds, n: torch.arange(n).expand(len(seeds), n))

    found = [at_once(SEEDS, 50) for _ in range(2)]

    assert all(torch.equal(each, by_torch(SEEDS, 50)) for each in found)
    assert at_once._agrees == {50: False}


def test_orders_without_a_compiler_are_drawn_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(source: str) -> Library:
        raise CannotCompileError("there is no C compiler")

    monkeypatch.setattr(permutations, "Library", none)
    draws = Permutations(pays=0)

    assert all(torch.equal(draws(SEEDS, 50), by_torch(SEEDS, 50)) for _ in range(2))


def test_orders_are_drawn_by_torch_where_what_was_compiled_cannot_be_loaded(
    at_once: Permutations, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    at_once._library.ready()
    monkeypatch.setattr(at_once._library, "_path", tmp_path / "gone.so")

    assert all(torch.equal(at_once(SEEDS, 50), by_torch(SEEDS, 50)) for _ in range(2))
    assert not at_once._agrees


def test_drawing_orders_leaves_torchs_own_generator_as_it_is(at_once: Permutations) -> None:
    before = torch.get_rng_state()

    for _ in range(2):
        at_once(SEEDS, 1000)

    assert torch.equal(torch.get_rng_state(), before)


def test_a_stack_has_the_order_that_each_of_its_runs_has_alone(
    at_once: Permutations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathered, "permutations", at_once)
    x = torch.arange(700.0)[:, None]
    runs = [Batches(Split(x, -x), batch_size=300, seed=seed) for seed in (3, 4)]
    stacked = Gathered(runs)

    for epoch in range(3):
        batches = list(stacked.epoch(epoch, dtype=torch.float32))
        for row, run in enumerate(runs):
            for part, expected in enumerate(run.epoch(epoch)):
                assert torch.equal(torch.cat([each[part][row] for each in batches]), expected)


@pytest.mark.parametrize("seeds", [(None, None), (None, 5)])
def test_runs_that_keep_their_samples_order_are_not_shuffled(seeds: tuple[int | None, int | None]) -> None:
    x = torch.arange(20.0)[:, None]
    runs = [Batches(Split(x, -x), batch_size=20, seed=seed) for seed in seeds]

    [(found, _)] = Gathered(runs).epoch(0, dtype=torch.float32)

    assert torch.equal(found, torch.stack([run.epoch(0)[0] for run in runs]))
