"""Hooks at the ends of epochs: in a stack they do for each run what they do where it trains alone."""

from __future__ import annotations

import copy
import threading
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import BaseFinetuning, LambdaCallback
from torch.utils import _pytree as pytree

import hooked
import styled
from both_ways import alone, job, stacked, trained
from driven import Kept
from shoal.engines import lightning
from shoal.engines.hook_names import CALLED, not_called, upstream
from shoal.engines.job import Job
from shoal.engines.vectorized import timing
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.probing.failure_words import reason
from shoal.engines.vectorized.probing.likeness import unlike_alone
from shoal.engines.vectorized.running import Running
from shoal.optimizers import SGD, Own
from shoal.record import stack_of_one
from shoal.schedulers import Exponential
from shoal.step.unfit import CannotStackError
from shoal.sweeps.plan import Plan, why_alone


def test_hooks_do_for_each_run_what_they_do_where_it_trains_alone() -> None:
    found = stacked(*(job(hooked.Annealed, seed, hooked.Counts()) for seed in range(3)))

    for seed in range(3):
        expected = alone(job(hooked.Annealed, seed, hooked.Counts()))
        rows = {each.epoch: dict(each.metrics) for each in found.rows[seed]}
        assert len(rows) == 4
        for epoch, row in expected.items():
            assert {"val/norm", "val/same", "drawn", "steps", "rate", "n"} <= set(row)
            assert {name: rows[epoch][name] for name in row} == pytest.approx(row, rel=1e-6)


@pytest.mark.parametrize(
    ("module", "settings"),
    [
        (hooked.NotesOwnRates, {}),
        (hooked.NotesOwnRates, {"check_val_every_n_epoch": 2, "accumulate_grad_batches": 3}),
        (hooked.NotesOwnRates, {"max_steps": 7, "max_epochs": -1, "limit_val_batches": 1}),
        (hooked.Notes, {"limit_val_batches": 0, "limit_train_batches": 2, "gradient_clip_val": 0.1}),
        (hooked.Notes, {"scheduler": Exponential(gamma=0.9)}),
    ],
)
def test_hooks_are_called_in_lightnings_order_and_find_what_they_find_alone(module: Any, settings: Any) -> None:
    def made(seed: int) -> Job:
        optimizer = Own() if module is hooked.NotesOwnRates else SGD(lr=0.05)
        return job(module, seed, hooked.NotesFirst(), hooked.NotesToo(), **{"optimizer": optimizer, **settings})

    members = [Member.of(made(seed)) for seed in range(2)]
    running = Running(members)
    assert unlike_alone(running) == {}
    trained(running, Kept())

    for seed, member in enumerate(members):
        own = made(seed)
        expected: Any = own.module()
        with lightning.expected_warnings():
            lightning.fit(own, expected, callbacks=list(own.callbacks.values()))
        assert member.module.called == expected.called
        assert member.module.found == [pytest.approx(each, rel=1e-6) for each in expected.found]


CALLS: list[str] = []


def noted(hook: str, *_: Any, **__: Any) -> None:
    CALLS.append(hook)


def noting(seed: int) -> Job:
    functions = {hook: partial(noted, hook) for hook in CALLED}
    return job(hooked.Annealed, seed, LambdaCallback(**functions))


def test_functions_given_as_hooks_are_called_as_often_in_a_sweep_as_alone() -> None:
    CALLS.clear()
    alone(noting(0))
    expected = Counter(CALLS)
    CALLS.clear()
    plan, jobs = Plan(), [noting(seed) for seed in range(3)]

    for number, each in enumerate(jobs):
        plan.add(number, each)
    stacked(*jobs)

    assert len(plan.groups) == 1
    assert Counter(CALLS) == {hook: 3 * n for hook, n in expected.items()}


def test_what_steps_append_to_lists_of_the_module_is_there_for_its_hooks() -> None:
    found = stacked(*(job(hooked.Gathers, seed) for seed in range(2)))

    expected = alone(job(hooked.Gathers, 1))
    rows = {each.epoch: dict(each.metrics) for each in found.rows[1]}
    for epoch, row in expected.items():
        assert row["samples"] == 32
        assert {name: rows[epoch][name] for name in row} == pytest.approx(row, rel=1e-6)


def test_what_a_validation_changes_for_itself_is_no_part_of_the_training() -> None:
    found = stacked(*(job(hooked.Shares, seed, hooked.Averages()) for seed in range(2)))

    expected = alone(job(hooked.Shares, 1, hooked.Averages()))
    rows = {each.epoch: dict(each.metrics) for each in found.rows[1]}
    for epoch, row in expected.items():
        assert {name: rows[epoch][name] for name in row} == pytest.approx(row, rel=1e-6)


def test_metrics_with_a_state_are_told_what_each_run_s_steps_gave_them() -> None:
    found = stacked(*(job(hooked.Measures, seed) for seed in range(2)))

    expected = alone(job(hooked.Measures, 1))
    rows = {each.epoch: dict(each.metrics) for each in found.rows[1]}
    for epoch, row in expected.items():
        assert {"train/mean_epoch", "val/error", "val/best", "val/mse", "val/mae", "val/share"} <= set(row)
        assert {"train/squared", "val/by_batch_mae"} <= set(row)
        assert {name: rows[epoch][name] for name in row} == pytest.approx(row, rel=1e-6)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (hooked.Weighs, "looks at what self.mean, a metric, has come to"),
        (hooked.WeighsBySum, "looks at what self.mean, a metric, has come to"),
        (hooked.Empties, "looks at what self.mean, a metric, has come to, or empties it"),
        (hooked.SharesMetric, "logs val/mean, a metric that training and validation share"),
    ],
)
def test_a_metric_that_a_step_asks_or_empties_has_its_run_train_alone(module: Any, words: str) -> None:
    running = Running([Member.of(job(module, seed, n=20)) for seed in (0, 1)])

    assert words in unlike_alone(running)[0]


def test_a_step_that_looks_at_what_it_appends_trains_alone() -> None:
    running = Running([Member.of(job(hooked.Looks, seed, n=20)) for seed in (0, 1)])

    assert "looks at self.training_step_outputs, which it fills" in unlike_alone(running)[0]


def test_a_callback_ends_a_run_of_a_stack_and_keeps_its_state() -> None:
    running, kept = Running([Member.of(job(hooked.Fitted, seed, hooked.Counts(2 + seed))) for seed in (0, 1)]), Kept()

    trained(running, kept)

    assert [[each.ended for each in kept.rows[run]] for run in (0, 1)] == [
        [None, "stopped"],
        [None, None, "stopped"],
    ]
    counts = hooked.Counts()
    assert running.checkpoint(1)["callbacks"][counts.state_key] == {"n": 3}


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (hooked.OwnPenalty, "looks at self.beta, which a hook sets otherwise in each run"),
        (hooked.Freezes, "changes which parameters are trained"),
        (hooked.Asks, "Asks.on_train_epoch_end (hooked.py:"),
        (hooked.Asks, "asks its Trainer for strategy"),
        (hooked.AsksLogged, "asks its Trainer for logged_metrics"),
        (hooked.SwapsLoss, "puts another layer in the place of self.criterion"),
        (hooked.StepsAgain, "steps its optimizer in a hook"),
        (hooked.EndsByError, "ends its training by a StopIteration: trainer.should_stop = True"),
        (hooked.Toggles, "sets automatic_optimization, by which a stack's runs train together"),
        (hooked.SetsRate, "sets the optimizer's settings"),
    ],
)
def test_what_hooks_do_that_a_stack_cannot_follow_is_named(module: type[pl.LightningModule], words: str) -> None:
    running = Running([Member.of(job(module, seed, n=20)) for seed in (0, 1)])

    with pytest.raises(CannotStackError) as error:
        trained(running, Kept())

    assert words in reason(error.value, running.members[0].module)


@pytest.mark.parametrize("optimizer", [SGD(lr=0.05), Own()])
def test_hooks_find_no_state_in_an_optimizer_whose_steps_a_stack_takes(optimizer: Any) -> None:
    member = Running([Member.of(replace(job(hooked.Fitted, 0, n=20), optimizer=optimizer))]).members[0]
    [given] = member.trainer.optimizers

    with pytest.raises(CannotStackError, match="asks for the state of its optimizer"):
        given.state.clear()
    member.trainer.check()
    given.load_state_dict(torch.optim.SGD(member.module.parameters(), lr=0.05).state_dict())
    with pytest.raises(CannotStackError, match="gives its optimizer another state"):
        member.trainer.check()


class Thaws(BaseFinetuning):
    """Trains the bias later, by hooks of Lightning's."""

    def freeze_before_training(self, pl_module: pl.LightningModule) -> None:
        self.freeze(pl_module.layers)

    def finetune_function(self, pl_module: pl.LightningModule, epoch: int, optimizer: torch.optim.Optimizer) -> None:
        """Nothing, so early."""


def test_a_callback_whose_hooks_are_lightnings_needs_a_trainer_of_its_own() -> None:
    made = job(hooked.Fitted, 0, Thaws())

    assert str(why_alone(made, made.module())).startswith("callbacks.0 (Thaws) needs a Trainer of its own: without it")


def test_what_a_hook_of_the_beginning_does_is_named_before_the_first_epoch() -> None:
    running = Running([Member.of(job(hooked.FreezesAtOnce, seed, n=20)) for seed in (0, 1)])

    why = (
        "on_train_start of FreezesAtOnce changes which parameters are trained: a group whose lr is 0 keeps its weights"
    )
    assert unlike_alone(running) == {0: why, 1: why}


def test_a_callback_with_hooks_of_batches_trains_alone() -> None:
    class Watches(pl.Callback):
        """Looks at each batch."""

        def on_train_batch_end(self, *args: Any) -> None:
            self.seen = args

    made = job(hooked.Fitted, 0, Watches())

    assert why_alone(made, made.module()) == (
        "callbacks.0 (Watches) has on_train_batch_end, which a stack does not call: "
        "what it does fits into training_step, or into a hook of the epoch's end"
    )


def test_runs_that_are_slower_in_a_stack_than_alone_say_so_with_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running([Member.of(job(hooked.Fitted, seed, n=20)) for seed in range(4)])
    running.steps.guard.on = False
    figures = iter([0.040, 0.002, 0.004, 0.0007, *[0.004, 0.002] * 2])
    monkeypatch.setattr(timing, "shortest", lambda do, tries: next(figures))

    assert timing.slower(running) == (
        "an epoch takes 21.0 ms a run in a stack of 4, and 5.6 ms alone: another sweep.block may do better"
    )
    assert timing.slower(running) is None


@pytest.mark.parametrize("kind", [hooked.Fitted, styled.Style, styled.AsksAgain])
def test_to_take_the_time_of_steps_changes_nothing(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running([Member.of(job(kind, seed, n=20)) for seed in range(4)])
    running.steps.guard.on = False
    before = copy.deepcopy([running.state_dict(), [member.module.state_dict() for member in running.members]])
    taken: list[str] = []
    monkeypatch.setattr(timing, "shortest", lambda do, tries: (do(), taken.append("step"), 0.001)[-1])

    timing.slower(running)

    after = [running.state_dict(), [member.module.state_dict() for member in running.members]]
    assert len(taken) == 4
    every = [[leaf for leaf in pytree.tree_leaves(each) if isinstance(leaf, torch.Tensor)] for each in (before, after)]
    assert all(torch.equal(*pair) for pair in zip(*every, strict=True))


def test_a_run_whose_hooks_a_sanity_check_calls_trains_alone() -> None:
    made = job(hooked.Fitted, 0, hooked.Follows())
    checked = replace(made, trainer={**made.trainer, "num_sanity_val_steps": 1})

    assert why_alone(made, made.module()) is None
    assert why_alone(checked, made.module()) == (
        "trainer.num_sanity_val_steps=1 calls on_validation_start of Follows before the training: "
        "with trainer.num_sanity_val_steps=0 it stacks"
    )


def test_hooks_that_are_tried_leave_no_trace_in_their_callbacks() -> None:
    callback = hooked.Follows()
    running = Running([Member.of(job(hooked.Fitted, 0, callback))])

    assert unlike_alone(running) == {}

    assert [each.partition(" ")[0] for each in callback.heard] == ["setup", "fit", "train", "epoch"]


def test_a_callback_that_cannot_be_copied_has_its_run_train_alone() -> None:
    callback = hooked.Follows()
    callback.lock = threading.Lock()

    reason = stack_of_one.unlike_lightning(job(hooked.Fitted, 0, callback))

    assert reason == (
        "callbacks.0 (Follows) cannot be copied for a try of its hooks (cannot pickle '_thread.lock' object): "
        "a file, a lock or a connection can be opened anew by a hook, and closed by it"
    )


def test_a_module_made_with_the_other_lightning_stacks_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    # As in a program that has `lightning` alone, where the classes are said to be of its modules.
    upstreams = [cls for cls in pl.LightningModule.__mro__ if cls.__module__.startswith("pytorch_lightning.")]
    for cls in (*upstreams, pl.callbacks.Timer):
        monkeypatch.setattr(cls, "__module__", cls.__module__.replace("pytorch_lightning.", "lightning.pytorch."))

    assert not_called(hooked.Annealed()) is None
    assert upstream(pl.callbacks.Timer("00:00:01:00"))
