"""What modules keep and change beside their weights: in a stack it is as alone, or it is named before."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch

import line_samples
import styled
from driven import Kept
from shoal.engines import lightning
from shoal.engines.vectorized.driver import fit
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.probing.failure_words import reason
from shoal.engines.vectorized.probing.likeness import unlike_alone
from shoal.engines.vectorized.running import Running
from shoal.errors import ConfigError
from shoal.step.unfit import CannotStackError
from shoal.sweeps.plan import Plan, why_alone
from styled import job_of

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*",
    "ignore:.*LeafSpec.*",
    "ignore:.*weight_norm.*deprecated.*",
    "ignore:.*have no `val_dataloader`.*",
    "ignore:.*You have overridden .* but have passed in a `LightningDataModule`.*",
)
ALIKE = (
    *(styled.Annealed, styled.Assigns, styled.Checks, styled.Fills, styled.Halves, styled.Normed, styled.Prepares),
    *(styled.HoldsTwice, styled.Scatters, styled.Sloped, styled.Transfers, styled.Unused, styled.UnusedByObject),
    *(styled.UnusedByObjects, styled.Weighs, styled.CountsValidation, styled.RatesByTime, styled.Remembers),
    *(styled.MakesLater, styled.WritesBatch, styled.Judges, styled.Decays),
)


@pytest.mark.parametrize(
    ("module", "data"),
    [
        *((each, None) for each in ALIKE),
        (styled.Style, line_samples.ByEpoch),
        (styled.Style, line_samples.Noisy),
        (styled.Transfers, line_samples.Line),
        (styled.Mixes, line_samples.Drawn),
    ],
)
def test_a_stack_of_such_modules_gives_what_each_of_them_gives_alone(module: Any, data: Any) -> None:
    running, kept = Running([Member.of(job_of(module, seed, data)) for seed in (0, 1)]), Kept()
    running.steps.guard.on = False
    assert unlike_alone(running) == {}
    fit(running, kept)

    own = job_of(module, 1, data)
    alone = own.module()
    with lightning.expected_warnings():
        expected = lightning.fit(own, alone).callback_metrics

    found = running.checkpoint(1)["state_dict"]
    assert all(torch.allclose(found[name], value, rtol=1e-12) for name, value in alone.state_dict().items())
    assert {name: kept.curve(1, name)[-1] for name in expected} == pytest.approx(
        {name: float(value) for name, value in expected.items()}, rel=1e-12
    )


class Misnamed(pl.LightningModule):
    """Has a step by a name that Lightning does not know."""

    def train_step(self, batch: Any, batch_idx: int) -> None: ...


def test_a_step_by_a_misspelt_name_is_named() -> None:
    with pytest.raises(ConfigError) as error:
        job_of(Misnamed, 0).module()

    assert error.value.text() == (
        "error: module=Misnamed: has no training_step\n  its train_step has to be called training_step"
    )


def test_layers_that_are_made_as_the_training_begins_are_looked_at_then() -> None:
    plan = Plan()
    for number, module in enumerate([styled.MakesLater, styled.MakesLater, styled.RemembersLater]):
        plan.add(number, job_of(module, number))

    assert [group.numbers for group in plan.groups] == [[0, 1]]
    assert plan.alone == {2: "an LSTM gains nothing in a stack (memory): an nn.GRU does"}


@pytest.mark.parametrize(
    ("module", "data", "words"),
    [
        (styled.Keeps, None, "changes self.losses_of"),
        (styled.KeepsLatest, None, "changes self.latest"),
        (styled.CountsWithin, None, "changes self.count"),
        (styled.CountsInArray, None, "changes self.count"),
        (styled.Caches, None, "changes self.beta"),
        (styled.Tags, None, "changes an attribute of layers.0.weight"),
        (styled.LooksBack, None, "looks at the gradient that the step before has left (.grad)"),
        (styled.Adds, None, "changes self.late"),
        (styled.BringsCallbacks, None, "has its own configure_callbacks, which a stack does not call"),
        (styled.Replaces, None, "puts another parameter in the place of self.layers.2.bias"),
        (styled.Lazy, None, "layers.0.weight has the shape that its first batch asks for"),
        (styled.ScalesGradient, None, "layers.0.weight has a hook of its own for its gradient"),
        (styled.ClampsGradient, None, "layers.0.weight has a hook of its own for its gradient"),
        (styled.TakesTurns, None, "reaches other parameters with its gradient than before"),
        (styled.HoldsItself, None, "they hold HoldsItself itself, which changes while it trains"),
        (styled.Style, line_samples.Tiring, "its batches depend on how often they were drawn"),
        (styled.Style, line_samples.AsksStep, "its samples depend on trainer.global_step"),
    ],
)
def test_what_no_stack_can_follow_is_named_before_it_trains(module: Any, data: Any, words: str) -> None:
    one = job_of(module, 0, data)

    why = (
        why_alone(one, one.module())
        or unlike_alone(Running([Member.of(job_of(module, seed, data)) for seed in (0, 1)]))[0]
    )

    assert words in why


def test_a_single_run_with_a_weight_in_a_function_does_not_train_as_a_stack() -> None:
    running = Running([Member.of(job_of(styled.HoldsInFunction, 0, precision="32-true"))])

    assert "gives another gradient alone than in the stack" in unlike_alone(running)[0]


@pytest.mark.parametrize(
    ("module", "data", "words"),
    [
        (styled.Steepens, line_samples.Line, "changes the DataModule, which gives each run its samples"),
        (styled.SteepensOwn, None, "changes self.samples, of which its samples may be made"),
        (styled.StopsWithin, None, "sets self.trainer.should_stop: a hook of the epoch's end can stop a run"),
        (styled.WritesBatchLater, None, "writes to its batch, which steps before it did not"),
        (styled.ReplacesAfterwards, None, "puts another parameter in the place of self.layers.2.bias"),
        (styled.AddsUp, None, "sets trainer.accumulate_grad_batches, which is the same for all runs of a stack"),
        (styled.MeasuresBatches, None, "logs recent, a metric that has no value of a batch"),
        (styled.AnnealsOutside, None, "looks at styled.BETAS['beta'], which a hook changes"),
        (styled.JudgesOutside, None, "looks at styled.BETAS['beta'], which a hook changes"),
        (styled.JudgesLater, None, "looks at styled.BETAS['beta'], which a hook changes"),
        (styled.AnnealsClass, None, "looks at AnnealsClass.beta, which a hook changes"),
        (styled.KnowsRate, None, "looks at param_groups of its SGD, which a stack steps"),
        (styled.RatesByWeights, None, "looks at weights or buffers, which a stack has"),
        (styled.RatesByMetrics, None, "asks for metrics"),
        (styled.Unhooks, None, "changes self.layers.1._forward_hooks"),
        (styled.AnnealsEnvironment, None, "looks at os.environ, which a hook changes"),
        (styled.ChangesMethod, None, "looks at ChangesMethod.penalty, which a hook changes"),
        (styled.Recovers, None, "asks whether its numbers are finite and its"),
        (styled.Uncertain, None, "variances not negative, and they are not"),
        (styled.Switches, None, "reaches other parameters with its gradient than before"),
    ],
)
def test_what_no_stack_can_follow_ends_it_where_it_comes_up(module: Any, data: Any, words: str) -> None:
    running = Running([Member.of(job_of(module, seed, data)) for seed in (0, 1)])

    with pytest.raises(CannotStackError) as error:
        fit(running, Kept())

    assert words in reason(error.value, running.members[0].module)


def test_a_metric_without_a_value_of_a_batch_is_told_once_and_hurts_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    own = job_of(styled.MeasuresBatches, 0)

    with lightning.expected_warnings():
        lightning.fit(own, own.module())

    assert capsys.readouterr().err.count("warning: self.log('recent') logs nothing") == 1


BRANCHING = "def act(x):\n    if x.item():\n        return x\n"


def test_a_reason_names_the_line_of_the_package_that_a_module_is_made_of() -> None:
    made: dict[str, Any] = {}
    exec(compile(BRANCHING, "/venv/site-packages/published/activations.py", "exec"), made)
    with pytest.raises(RuntimeError) as raised:
        torch.vmap(made["act"])(torch.ones(2))
    assert raised.value.__traceback__

    within = raised.value.with_traceback(raised.value.__traceback__.tb_next)  # without this test's own line

    assert reason(within, styled.Annealed()).startswith("activations.py:2 needs a tensor's value")
