"""A LightningModule of the user's own: checked, trained, recorded and resumed like shoal's."""

from __future__ import annotations

from pathlib import Path

import pytest

import shoal
from faults.state import differences, state
from own_runs import LOADERS, SAMPLES, trained, write_task
from shoal.app.resume import resume
from shoal.errors import ConfigError, UsageError
from shoal.loaded.run import Run
from shoal.record.checkpoints.checkpoint_file import load
from shoal.rundir import Status
from shoal.signals import Interrupted

pytestmark = pytest.mark.usefixtures("unrendered")


@pytest.fixture
def folder(workdir: Path) -> Path:
    """A working directory with tasks that train LightningModules of the user's own."""
    settings = {"dropout": 0.1, "lr": 0.01}
    write_task("wave", "Wave", LOADERS, **settings)
    write_task("curve", "Wave", SAMPLES, dropout=0.0, lr=0.01)
    write_task("stopped", "Stopped", LOADERS, **settings)
    write_task("bare", "Bare", SAMPLES, optimizer="sgd", **settings)
    write_task("by_hand", "ByHand", LOADERS, **settings)
    write_task("lazy", "Lazy", LOADERS, **settings)
    return workdir


def test_a_module_that_knows_nothing_of_shoal_leaves_the_record_of_any_run(folder: Path) -> None:
    run = trained("task=wave")

    info = run.info
    assert (info.status, info.epochs, info.steps) == (Status.COMPLETED, 5, 20)
    assert info.best is not None
    assert (info.best.metric, info.best.value) == ("val_loss", run.metrics["val_loss"].min())
    assert set(run.metrics.columns) == {"step", "epoch", "train_loss", "last_loss", "val_loss", "lr", "grad_norm"}
    assert all((run.path / name).is_file() for name in ("checkpoints/best.ckpt", "figures/fit.png", "train.log"))


OWN_GENERATOR = "wave task.datamodule.generator=true"
RELOADED = f"{OWN_GENERATOR} task.datamodule._target_=own_modules.Thinned trainer.reload_dataloaders_every_n_epochs=2"


@pytest.mark.parametrize("task", ["wave", "curve", "by_hand", "bare", "lazy", OWN_GENERATOR, RELOADED])
def test_a_module_resumed_is_the_uninterrupted_one_to_the_bit(task: str, folder: Path) -> None:
    whole = trained(*f"task={task}".split())
    part = trained(*f"task={task}".split(), "trainer.max_epochs=3")

    resume(part.path, ["trainer.max_epochs=5"], trusted=["own_modules"])

    assert part.metrics.equals(whole.metrics)
    assert differences(state(part.path), state(whole.path)) == []


def test_a_module_stopped_within_an_epoch_goes_on_from_that_epochs_beginning(folder: Path) -> None:
    with pytest.raises(Interrupted):
        trained("task=stopped", "hydra.run.dir=outputs/part")
    part = Run("outputs/part", trusted=["own_modules"])
    assert load(part.directory.last)["shoal"]["position"] == [2, 0, 8]

    resume(part.path, trusted=["own_modules"])
    whole = trained("task=stopped")

    assert part.metrics.equals(whole.metrics)
    assert differences(state(part.path), state(whole.path)) == []


def test_a_module_that_max_steps_ended_within_an_epoch_is_not_resumed_there(folder: Path) -> None:
    run = trained("task=wave", "trainer.max_steps=6")

    with pytest.raises(UsageError, match="from the middle of epoch 1"):
        resume(run.path, ["trainer.max_steps=20"], trusted=["own_modules"])


def test_a_trained_module_evaluates_predicts_and_exports_once_it_is_trusted(folder: Path) -> None:
    run = trained("task=wave")

    from shoal.loaded.export import export

    assert run.evaluate() == pytest.approx({"val_loss": run.info.best.value}, rel=1e-6)  # type: ignore[union-attr]
    assert run.predict([0.1, 0.2]).columns == ["y"]
    assert export(run, "safetensors").difference == 0
    with pytest.raises(UsageError, match=r"task\.module\._target_=own_modules\.Wave: a run directory may only name"):
        shoal.load(run.path)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("optimizer=adam", "has no effect: Wave has its own configure_optimizers\n  choose optimizer=own"),
        ("model=mlp", "has no effect: Wave is the model and computes its loss\n  choose model=own"),
        ("loss=mse", "has no effect: Wave is the model and computes its loss\n  choose loss=own"),
        ("scheduler=cosine", "has no effect: Wave has its own configure_optimizers"),
        ("optimizer.lr=0.1", "no such setting\n  did you mean task.module.lr=0.1?"),
        ("+task.batch_size=4", "has no effect here: set it in task.datamodule"),
        ("task.module.lrr=1", "no such setting\n  did you mean lr?"),
        ("+task.module.hidden=a", "must be an integer"),
        ("+task.module.hidden=-1", "cannot be made: RuntimeError: Trying to create tensor with negative dimension -1"),
        ("task.module._target_=own_modules.Wav", "there is no own_modules.Wav; did you mean own_modules.Wave?"),
        ("task.module._target_=own_modules.Loaders", "is not a LightningModule"),
        ("task.module._target_=nowhere.Wave", "no module nowhere can be imported"),
        ("task.module=null", "must be a node with a _target_"),
        ("task.datamodule=null", "Wave has no train_dataloader"),
        ("callbacks.checkpoint.every_n_train_steps=2", "is saved between epochs only"),
        ("callbacks.checkpoint.monitor=val_los", "is never logged\n  did you mean val_loss?"),
        ("task.module._target_=own_modules.Bare", "Bare has no configure_optimizers\n  for example optimizer=adam"),
    ],
)
def test_what_is_wrong_with_a_module_is_told_in_three_lines(typed: str, said: str, folder: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        trained("task=wave", typed)

    assert said in str(raised.value)
    assert len(str(raised.value).splitlines()) <= 3


def test_a_metric_that_no_step_logs_is_refused_before_anything_trains(folder: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean val_loss"):
        trained("task=curve", "callbacks.checkpoint.monitor=val_los")

    assert not Path("outputs").exists()


def test_own_is_refused_where_the_task_brings_no_module(folder: Path) -> None:
    with pytest.raises(ConfigError, match="is for a task with a LightningModule of its own"):
        trained("task=parabola", "model=own")
