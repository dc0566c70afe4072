"""A stack under one Lightning Trainer: each run as the Lightning engine trains it, and as any other stack does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping
from torch import Tensor

from driven import SETTINGS, Kept, Stopped, job
from shoal.engines import lightning
from shoal.engines.job import Job
from shoal.engines.vectorized import driver
from shoal.engines.vectorized.gone_on import go_on_from
from shoal.engines.vectorized.member import Member, unsupported
from shoal.engines.vectorized.running import Running
from shoal.engines.vectorized.signature import unstackable
from shoal.models import MLP
from shoal.names import TRAIN_LOSS, VAL_LOSS
from shoal.optimizers import SGD, Adam
from shoal.schedulers import Constant, Cosine, Exponential, OneCycle, Plateau, Scheduler, Step, WarmUp
from shoal.tasks import LinearRegression

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*does not have many workers.*")


SCHEDULERS: dict[str, Scheduler] = {
    "constant": Constant(),
    "cosine": Cosine(),
    "step": Step(every=2),
    "exponential": Exponential(),
    "onecycle": OneCycle(),
    "warm up": WarmUp(steps=7, then="cosine"),
    "plateau": Plateau(patience=0, threshold=0.5, factor=0.5),
}


def stacked(jobs: Sequence[Job], listener: Kept | None = None, **trainer: Any) -> tuple[Running, Kept]:
    listener = listener or Kept()
    running = Running([Member.of(each, monitor=VAL_LOSS) for each in jobs])
    driver.fit(running, listener)
    return running, listener


class Curves(pl.Callback):
    """The metrics of each epoch of a run that trains alone."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._keep(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._keep(trainer)

    def _keep(self, trainer: pl.Trainer) -> None:
        if trainer.callback_metrics:
            self.rows.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def alone(job: Job) -> tuple[pl.LightningModule, pl.Trainer, Curves]:
    module, curves = job.module(), Curves()
    callbacks = [curves, *job.callbacks.values()]
    trainer = lightning.fit(job, module, callbacks=callbacks)
    return module, trainer, curves


def distance(checkpoint: Mapping[str, Any], module: pl.LightningModule) -> float:
    state: dict[str, Tensor] = module.state_dict()
    return max(float((checkpoint["state_dict"][name] - value).abs().max()) for name, value in state.items())


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_run_is_within_1e_12_of_the_lightning_engine_with_every_scheduler(name: str) -> None:
    jobs = [job(seed, scheduler=SCHEDULERS[name], optimizer=Adam(lr=0.01 * (seed + 1))) for seed in range(3)]

    running, told = stacked(jobs)

    for run in (0, 2):
        module, trainer, curves = alone(jobs[run])
        checkpoint = running.checkpoint(run)
        assert distance(checkpoint, module) < 1e-12
        assert checkpoint["global_step"] == trainer.global_step
        assert checkpoint["epoch"] == trainer.current_epoch
        assert told.curve(run, TRAIN_LOSS) == pytest.approx([row[TRAIN_LOSS] for row in curves.rows], abs=1e-12)
        assert told.curve(run, VAL_LOSS) == pytest.approx([row[VAL_LOSS] for row in curves.rows], abs=1e-12)


@pytest.mark.parametrize(
    "changes",
    [
        {"gradient_clip_val": 0.05},
        {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
        {"accumulate_grad_batches": 3},
        {"max_steps": 16},
        {"limit_train_batches": 2, "limit_val_batches": 1},
        {"model": MLP(hidden=(8, 8), dropout=0.25)},
        {"check_val_every_n_epoch": 2},
        {"task": LinearRegression(weights=(2.0, 3.0), batch_size=16)},
    ],
    ids=str,
)
def test_a_run_is_within_1e_12_of_the_lightning_engine_with_every_setting(changes: dict[str, Any]) -> None:
    jobs = [job(seed, **changes) for seed in range(2)]

    running, told = stacked(jobs)

    module, trainer, curves = alone(jobs[1])
    checkpoint = running.checkpoint(1)
    assert distance(checkpoint, module) < 1e-12
    assert checkpoint["global_step"] == trainer.global_step
    logged = {name: value for name, value in told.rows[1][-1].metrics.items() if name in curves.rows[-1]}
    assert logged == pytest.approx({name: curves.rows[-1][name] for name in logged}, abs=1e-12)
    assert TRAIN_LOSS in logged


def test_runs_stop_early_each_by_its_own_patience_as_they_would_alone() -> None:
    def stopping(patience: int) -> EarlyStopping:
        return EarlyStopping(monitor=VAL_LOSS, patience=patience, min_delta=1e-3)

    jobs = [job(seed, stop=stopping(seed + 1), max_epochs=40) for seed in range(4)]

    running, told = stacked(jobs)

    for run in range(4):
        same = job(run, stop=stopping(run + 1), max_epochs=40)
        module, _, curves = alone(same)
        assert distance(running.checkpoint(run), module) < 1e-12
        assert len(told.rows[run]) == len(curves.rows)
        [state] = running.checkpoint(run)["callbacks"].values()
        expected = same.callbacks["early_stopping"].state_dict()
        assert float(state.pop("best_score")) == pytest.approx(float(expected.pop("best_score")), abs=1e-12)
        assert state == expected
    assert len({len(rows) for rows in told.rows.values()}) > 1


def test_the_best_state_is_the_one_of_the_epoch_with_the_best_metric() -> None:
    jobs = [job(seed, optimizer=Adam(lr=0.2), max_epochs=12) for seed in range(3)]

    running, told = stacked(jobs)

    for run in range(3):
        curve = told.curve(run, VAL_LOSS)
        best = running.best_checkpoint(run)
        assert best is not None
        assert best["epoch"] == curve.index(min(curve)) + 1
        assert [row.best for row in told.rows[run]] == [
            value < min([*curve[:i], torch.inf]) for i, value in enumerate(curve)
        ]


def test_a_run_with_scheduler_and_metrics_is_the_same_in_every_stack() -> None:
    def single(seed: int) -> Job:
        scheduler = list(SCHEDULERS.values())[seed % len(SCHEDULERS)]
        return job(seed, scheduler=scheduler, precision="32-true", model=MLP(hidden=(8, 5), dropout=0.1))

    many, told_many = stacked([single(seed) for seed in range(14)])

    for seeds in ([6], [3, 6, 5]):
        few, told = stacked([single(seed) for seed in seeds])
        run = seeds.index(6)
        assert told.rows[run][-1].metrics == told_many.rows[6][-1].metrics
        same(few.checkpoint(run), many.checkpoint(6))
        same(few.best_checkpoint(run), many.best_checkpoint(6))


def same(one: Any, other: Any) -> None:
    if isinstance(one, Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, Mapping):
        assert list(one) == list(other)
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, list | tuple):
        for mine, theirs in zip(one, other, strict=True):
            same(mine, theirs)
    else:
        assert one == other


def mixed(seed: int) -> Job:
    stop = EarlyStopping(monitor=VAL_LOSS, patience=1 + seed)
    return job(seed, stop=stop, scheduler=list(SCHEDULERS.values())[-1 - seed], precision="32-true", max_epochs=12)


@pytest.mark.parametrize("after", [2, 5, 9])
def test_a_stack_that_was_cut_off_goes_on_to_the_bit(after: int) -> None:
    through, told = stacked([mixed(seed) for seed in range(5)], Kept(save_after=after))

    again = Running([Member.of(mixed(seed), monitor=VAL_LOSS) for seed in range(5)])
    again.load_state_dict(told.saved)
    listener = Kept()
    driver.fit(again, listener)

    for run in range(5):
        same(again.checkpoint(run), through.checkpoint(run))
        same(again.best_checkpoint(run), through.best_checkpoint(run))
        assert listener.rows.get(run, []) == [row for row in told.rows[run] if row.epoch >= after]


def test_a_run_goes_on_from_its_checkpoint_in_another_stack() -> None:
    def through(seed: int, epochs: int = 6) -> Job:
        return job(seed, max_epochs=epochs, scheduler=Exponential(), precision="32-true")

    whole, _ = stacked([through(0), through(1)])
    half, _ = stacked([through(0, 3), through(1, 3)])

    resumed = Running([Member.of(through(1))])
    go_on_from(half.checkpoint(1), resumed, 0)
    driver.fit(resumed, Kept())

    same(resumed.checkpoint(0), whole.checkpoint(1))


def test_a_checkpoint_of_a_stack_loads_into_lightning_without_code(tmp_path: Any) -> None:
    running, _ = stacked([job(0), job(1, scheduler=Plateau())])

    torch.save(running.checkpoint(1), tmp_path / "run.ckpt")

    loaded = torch.load(tmp_path / "run.ckpt", weights_only=True)
    module = job(1).module().double()
    module.load_state_dict(loaded["state_dict"])
    optimizer = Adam(lr=1e-2).alone(module.parameters())
    optimizer.load_state_dict(loaded["optimizer_states"][0])
    Plateau().alone(optimizer, running.horizon)["scheduler"].load_state_dict(loaded["lr_schedulers"][0])
    assert loaded["global_step"] == 30
    assert (tmp_path / "run.ckpt").stat().st_size < 60_000


def test_a_run_that_diverges_says_when_and_the_others_are_as_without_it() -> None:
    def one(seed: int, lr: float) -> Job:
        return job(seed, optimizer=SGD(lr=lr), precision="32-true")

    beside, told = stacked([one(0, 0.1), one(1, 1e9), one(2, 0.1)])
    without, _ = stacked([one(0, 0.1), one(2, 0.1)])

    same(beside.checkpoint(0), without.checkpoint(0))
    same(beside.checkpoint(2), without.checkpoint(1))
    last = told.rows[1][-1]
    assert (last.ended, len(told.rows[1])) == ("diverged", 1)
    assert last.reason is not None
    assert "is not finite at step" in last.reason
    assert [told.rows[run][-1].ended for run in (0, 2)] == ["completed", "completed"]


@pytest.mark.parametrize(("setting", "value"), [("precision", "16-mixed"), ("overfit_batches", 2), ("devices", 2)])
def test_a_setting_that_a_stack_cannot_follow_is_named(setting: str, value: Any) -> None:
    why = unsupported({**SETTINGS, setting: value})

    assert why is not None
    assert why.startswith(f"a stack cannot follow trainer.{setting}={value}: with trainer.{setting}=")
    assert unsupported(SETTINGS) is None


def test_the_framework_s_own_modules_can_be_stacked() -> None:
    assert unstackable(job(0).module(), Adam()) is None


@pytest.mark.parametrize("changes", [{}, {"accumulate_grad_batches": 2}, {"scheduler": OneCycle()}], ids=str)
@pytest.mark.parametrize("step", [0, 2, 7])
def test_a_stack_stopped_before_any_step_goes_on_from_there_to_the_bit(step: int, changes: dict[str, Any]) -> None:
    jobs = [job(seed, **changes) for seed in range(3)]
    whole, untouched = stacked(jobs)

    stopped = Kept(stop_at=step)
    with pytest.raises(Stopped):
        stacked(jobs, stopped)
    resumed, rest = Running([Member.of(each, monitor=VAL_LOSS) for each in jobs]), Kept()
    resumed.load_state_dict(stopped.saved)
    begun = resumed.step
    driver.fit(resumed, rest)

    assert begun == step
    for run in range(3):
        rows = [*stopped.rows.get(run, []), *rest.rows[run]]
        assert [row.metrics for row in rows] == [row.metrics for row in untouched.rows[run]]
        assert torch.equal(flat(resumed.checkpoint(run)["state_dict"]), flat(whole.checkpoint(run)["state_dict"]))


def flat(state: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([value.flatten() for value in state.values()])
