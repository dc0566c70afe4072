"""What hooks keep outside of their module, and find there: each run's is its own, as if no other run were there."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl

import outside
from both_ways import alone, job, stacked, trained
from driven import Kept
from hooked import Fitted
from shoal.engines.job import Job
from shoal.engines.vectorized.hooks.worlds import Worlds
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.probing.failure_words import reason
from shoal.engines.vectorized.probing.likeness import unlike_alone
from shoal.engines.vectorized.running import Running
from shoal.optimizers import Own
from shoal.step.unfit import CannotStackError
from styled import job_of


def alone_in_its_process(made: Job) -> dict[int, dict[str, float]]:
    with Worlds([Member.of(made)]).undone():
        return alone(made)


def assert_as_alone(module: Any, *callbacks: type[pl.Callback], **settings: Any) -> list[dict[str, float]]:
    found = stacked(*(job(module, seed, *(each() for each in callbacks), **settings) for seed in range(3)))

    for seed in range(3):
        expected = alone_in_its_process(job(module, seed, *(each() for each in callbacks), **settings))
        rows = {each.epoch: dict(each.metrics) for each in found.rows[seed]}
        for epoch, row in expected.items():
            assert {name: rows[epoch][name] for name in row} == pytest.approx(row, rel=1e-6)
    return list(expected.values())


@pytest.mark.parametrize(
    ("module", "callbacks"),
    [
        (outside.KeepsBest, ()),
        (outside.KeepsHistory, ()),
        (outside.CountsInDefault, ()),
        (Fitted, (outside.CountsInClass,)),
    ],
)
def test_hooks_find_outside_what_those_of_their_own_run_have_left(module: Any, callbacks: Any) -> None:
    rows = assert_as_alone(module, *callbacks)

    assert len({row["kept"] for row in rows}) == 4
    assert outside.SCALES == {}
    assert outside.CountsInClass.n == 0


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (outside.ScalesFirst, "looks at outside.SCALES['penalty'], which a hook changes"),
        (outside.TakesNext, "changes TakesNext.betas, where hooks of other runs look too"),
        (outside.ChangesLate, "changes ChangesLate.n, where hooks of other runs look too"),
    ],
)
def test_what_each_run_has_outside_and_no_step_can_follow_is_named(module: Any, words: str) -> None:
    running = Running([Member.of(job(module, seed)) for seed in range(3)])

    with pytest.raises(CannotStackError) as error:
        trained(running, Kept())

    assert words in reason(error.value, running.members[0].module)
    # Whoever trains alone next, in this process, begins as the stack did.
    assert (outside.SCALES, outside.ChangesLate.n) == ({}, 0)


def test_what_tried_steps_keep_outside_is_gone_for_who_trains_alone() -> None:
    jobs = [job(outside.CachesByEpoch, seed) for seed in range(3)]

    found = unlike_alone(Running([Member.of(each) for each in jobs]))

    assert found.keys() == {0, 1, 2}
    assert outside.CachesByEpoch.sizes == {}


@pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*", "ignore:.*does not have many workers.*", "ignore:.*have no `val_dataloader`.*"
)
def test_samples_that_follow_from_what_a_hook_sets_outside_are_named() -> None:
    running = Running([Member.of(job_of(outside.Ramps, seed)) for seed in (0, 1)])
    assert unlike_alone(running) == {}

    with pytest.raises(CannotStackError) as error:
        trained(running, Kept())

    words = "changes outside.SCALES['samples'], by which its samples are others"
    assert words in reason(error.value, running.members[0].module)


@pytest.mark.parametrize(
    "settings",
    [
        {"limit_val_batches": 0, "gradient_clip_val": 0.1},
        {"check_val_every_n_epoch": 2, "accumulate_grad_batches": 3},
    ],
)
def test_hooks_find_the_gradient_of_the_last_step_until_a_validation(settings: Any) -> None:
    rows = assert_as_alone(outside.LooksAtGradients, **settings)

    assert rows[0]["began"] == -2
    assert rows[0]["ended"] > 2
    assert [row["none"] for row in rows] == [1.0] * 4


def test_a_gradient_that_an_optimizer_has_asked_for_again_is_not_shown() -> None:
    running = Running(
        [Member.of(job(outside.AsksAgain, seed, optimizer=Own(), limit_val_batches=0)) for seed in (0, 1)]
    )

    with pytest.raises(CannotStackError) as error:
        trained(running, Kept())

    why = reason(error.value, running.members[0].module)
    assert "looks at the gradient that the last step has left (.grad), which its optimizer takes several times" in why
