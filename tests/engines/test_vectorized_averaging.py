"""Averaged weights in a stack: each run is judged by its own, as where Lightning's callback averages it alone."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging, WeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_avg_fn

import hooked
from driven import Kept, Stopped
from driven import job as described
from shoal.engines import lightning
from shoal.engines.job import Job
from shoal.engines.vectorized import driver
from shoal.engines.vectorized.gone_on import go_on_from
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.running import Running
from shoal.optimizers import SGD
from shoal.sweeps.plan import Plan, why_alone
from shoal.tasks import LightningTask, Parabola
from spread import one_of


class Normed(pl.LightningModule):
    """A module whose buffers are floating-point and whole numbers, and one of whose parameters is not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 1))
        self.net[3].bias.requires_grad_(False)  # type: ignore[arg-type]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self._step(batch, "train/loss")

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self._step(batch, "val/loss")

    def _step(self, batch: tuple[Tensor, Tensor], name: str) -> Tensor:
        x, y = batch
        loss = nn.functional.mse_loss(self.net(x), y)
        self.log(name, loss, on_step=False, on_epoch=True)
        return loss


class Late(WeightAveraging):
    """Says itself when weights count, as Lightning's documentation shows it."""

    def __init__(self) -> None:
        super().__init__(avg_fn=get_ema_avg_fn(0.7))

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        return step_idx is not None and step_idx >= 6


AVERAGES: dict[str, Any] = {
    "forgetting": lambda: EMAWeightAveraging(decay=0.8),
    "now and then": lambda: EMAWeightAveraging(decay=0.6, update_every_n_steps=3, update_starting_at_step=2),
    "mean": WeightAveraging,
    "without buffers": lambda: EMAWeightAveraging(decay=0.9, use_buffers=False),
    "own": Late,
}


def job(seed: int, average: pl.Callback, module: type[pl.LightningModule] = Normed, **changes: Any) -> Job:
    samples = Parabola(seed=seed, n_samples=40, batch_size=8, val_batch_size=7)
    task = LightningTask(seed=seed, module=module, samples=samples)
    made = described(seed, task=task, optimizer=SGD(lr=0.05), **{"max_epochs": 4, **changes})
    made.callbacks["average"] = average
    return made


def running(*jobs: Job) -> Running:
    return Running([Member.of(each, monitor="val/loss") for each in jobs])


def trained(found: Running, kept: Kept | None = None) -> Running:
    with lightning.expected_warnings():
        driver.fit(found, kept or Kept())
    return found


def alone(made: Job) -> dict[str, Any]:
    module = made.module()
    trainer = lightning.fit(made, module, callbacks=list(made.callbacks.values()))
    average = made.callbacks["average"]
    assert isinstance(average, WeightAveraging)
    assert average._average_model is not None
    return {
        "state_dict": module.state_dict(),
        "val/loss": float(trainer.callback_metrics["val/loss"]),
        "n": int(average._average_model.n_averaged),
    }


def same(one: Any, other: Any) -> bool:
    """Whether two states are the same to the bit, but for the optimizer's numbers that nobody reads."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, Tensor) else one == other


@pytest.mark.parametrize("kind", one_of(2, AVERAGES))
def test_runs_of_a_stack_are_averaged_as_lightning_averages_each_alone(kind: str) -> None:
    kept, stack = Kept(), running(*(job(seed, AVERAGES[kind]()) for seed in range(3)))

    trained(stack, kept)

    expected = alone(job(1, AVERAGES[kind]()))
    found = stack.checkpoint(1)
    assert int(found["averaging_state"]["n_averaged"]) == expected["n"] > 1
    assert not same(found["state_dict"], found["current_model_state"])
    for name, value in expected["state_dict"].items():
        torch.testing.assert_close(found["state_dict"][name], value, rtol=1e-9, atol=1e-12)
    assert kept.rows[1][-1].metrics["val/loss"] == pytest.approx(expected["val/loss"], rel=1e-9)


@pytest.mark.parametrize("kind", one_of(3, ["now and then", "own", "mean"]))
def test_averages_have_the_same_bits_in_any_stack(kind: str) -> None:
    many = trained(running(*(job(seed, AVERAGES[kind]()) for seed in range(5))))
    few = trained(running(job(3, AVERAGES[kind]())))

    assert same(many.checkpoint(3), few.checkpoint(0))
    assert same(many.best_checkpoint(3), few.best_checkpoint(0))


def test_runs_that_forget_at_different_rates_share_a_stack() -> None:
    plan = Plan()
    decays = [0.5, 0.9]
    for number, decay in enumerate(decays):
        plan.add(number, job(0, EMAWeightAveraging(decay=decay)))

    stack = trained(running(*(job(0, EMAWeightAveraging(decay=decay)) for decay in decays)))

    assert [group.numbers for group in plan.groups] == [[0, 1]]
    assert same(stack.checkpoint(1), trained(running(job(0, EMAWeightAveraging(decay=0.9)))).checkpoint(0))


def test_a_mean_and_an_average_that_forgets_are_of_different_stacks() -> None:
    plan = Plan()
    for number, kind in enumerate(["forgetting", "mean", "without buffers"]):
        plan.add(number, job(0, AVERAGES[kind]()))

    assert plan.why_apart(1) == (
        "how weights are averaged differs (by a decay, buffers too and by the mean, buffers too): "
        "runs that agree in it share a stack"
    )
    assert len(plan.groups) == 3


@pytest.mark.parametrize("step", one_of(2, [7, 3]))
def test_a_stack_that_was_stopped_goes_on_with_its_averages(step: int) -> None:
    def jobs() -> list[Job]:
        return [job(seed, EMAWeightAveraging(decay=0.8)) for seed in range(3)]

    whole, stopped = trained(running(*jobs())), Kept(stop_at=step)

    with pytest.raises(Stopped):
        trained(running(*jobs()), stopped)
    rest = running(*jobs())
    rest.load_state_dict(stopped.saved)
    trained(rest)

    assert all(same(whole.checkpoint(run), rest.checkpoint(run)) for run in range(3))


def test_a_run_goes_on_alone_from_the_averages_it_had_in_a_stack() -> None:
    long = trained(running(*(job(seed, EMAWeightAveraging(decay=0.8), max_epochs=6) for seed in range(3))))
    short = trained(running(*(job(seed, EMAWeightAveraging(decay=0.8)) for seed in range(3))))

    rest = running(job(2, EMAWeightAveraging(decay=0.8), max_epochs=6))
    go_on_from(short.checkpoint(2), rest, 0)
    trained(rest)

    assert same(rest.checkpoint(0), long.checkpoint(2))


class Keeping(WeightAveraging):
    """Has a hook of its own."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Do more than its parent."""
        super().on_train_epoch_end(trainer, pl_module)
        self.kept = trainer.current_epoch


@pytest.mark.parametrize(
    ("average", "changes", "reason"),
    [
        (Keeping(), {}, "callbacks.average (Keeping) has on_train_epoch_end, which a stack does not call"),
        (WeightAveraging(avg_fn=lambda one, other, n: other), {}, "a function that a stack does not know"),
        (EMAWeightAveraging(decay=0.5, update_starting_at_epoch=2), {}, "averages after the validation of an epoch"),
        (EMAWeightAveraging(decay=0.5), {"check_val_every_n_epoch": 2}, "by trainer.check_val_every_n_epoch=2"),
        (EMAWeightAveraging(decay=0.5), {"max_steps": 7}, "by trainer.max_steps=7"),
    ],
)
def test_averages_that_a_stack_cannot_follow_are_named(average: Any, changes: dict[str, Any], reason: str) -> None:
    made = job(0, average, **changes)

    assert reason in (why_alone(made, made.module()) or "")


def test_hooks_that_would_see_the_averaged_weights_keep_a_run_alone() -> None:
    made = job(0, EMAWeightAveraging(decay=0.5), module=hooked.Annealed)

    reason = why_alone(made, made.module())

    assert reason is not None
    assert "averages weights that on_validation_epoch_end of Annealed may look at" in reason
