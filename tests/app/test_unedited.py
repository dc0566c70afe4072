"""LightningModules as they are published train as they are."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

import shoal
from own_runs import write_task
from shoal.app.resume import resume
from shoal.errors import ConfigError, UsageError
from shoal.loaded.run import Run
from shoal.record.checkpoints.checkpoint_file import load
from shoal.record.checkpoints.readable import tell_of_objects

pytestmark = pytest.mark.usefixtures("unrendered")


def own(module: str, given: dict[str, Any] | None = None) -> list[str]:
    """Let this module of `published` train with its own data; the words that say so."""
    write_task("own", module, {}, library="published", given=given)
    return ["task=own", "trainer.max_epochs=2"]


def reloaded(run: Run) -> Run:
    return Run(run.path, trusted=["published"])


TEMPLATE = {
    "net": {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "torch.nn.Linear", "_args_": [1, 1]}]},
    "optimizer": {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.1},
    "scheduler": {"_target_": "torch.optim.lr_scheduler.StepLR", "_partial_": True, "step_size": 1},
    "loss": {"_target_": "torch.nn.functional.mse_loss", "_partial_": True, "reduction": "sum"},
}


def test_the_hooks_for_data_are_called_in_the_order_of_lightning(workdir: Path) -> None:
    shoal.train(own("Silent"))

    order = Path("order").read_text().split()
    whole = ["prepare_data", "setup(fit)", "train_dataloader", "val_dataloader"]
    assert order == whole * (len(order) // 4)


def test_a_module_that_logs_nothing_is_judged_by_the_losses_it_returns(workdir: Path) -> None:
    run = shoal.train(own("Silent"))

    assert set(run.metrics.columns) == {"step", "epoch", "train/loss", "val/loss", "lr", "grad_norm"}
    assert run.info.best is not None
    assert run.info.best.metric == "val/loss"
    assert run.info.final["val/loss"] == pytest.approx(reloaded(run).evaluate()["val/loss"], rel=1e-6)


@pytest.mark.parametrize("module", ["Silent", "Sized"])
def test_layers_that_are_made_when_training_begins_are_loaded_and_resumed(module: str, workdir: Path) -> None:
    words = [*own(module), "trainer.precision=64"]
    part, whole = shoal.train(words), shoal.train([*words, "trainer.max_epochs=4"])

    resume(part.path, ["trainer.max_epochs=4"], trusted=["published"])

    assert part.metrics.equals(whole.metrics)
    assert len(reloaded(part).predict([0.5, 1.0])) == 2


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*")
@pytest.mark.parametrize("module", ["Silent", "Sized"])
def test_runs_whose_layers_are_made_when_training_begins_stack(module: str, workdir: Path) -> None:
    words = [*own(module), "trainer.precision=64"]

    stacked, _ = shoal.sweep([*words, "seed=1,2"]).runs

    alone = shoal.train([*words, "seed=1"])
    assert stacked.info.engine == "vectorized"
    assert stacked.metrics["val/loss"].to_list() == pytest.approx(alone.metrics["val/loss"].to_list(), rel=1e-12)


def test_hyperparameters_that_are_objects_are_no_part_of_a_checkpoint(workdir: Path) -> None:
    run = shoal.train(own("Template", TEMPLATE))

    kept = load(run.path / "checkpoints" / "best.ckpt")["hyper_parameters"]
    assert kept == {"path": "data", "width": 4}
    told = "configuration makes these anew: kind, loss, net, optimizer, scheduler"
    assert (run.path / "train.log").read_text().count(told) == 1
    assert len(reloaded(run).predict([0.5])) == 1


def test_objects_among_hyperparameters_are_named_however_deep_they_are(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    tell_of_objects({"hyper_parameters": {"width": 1, "cfg": {"layers": [{"kind": dict, "n": 2}, 3]}, "kind": dict}})

    assert caplog.messages[0].endswith("makes these anew: cfg.layers.0.kind, kind")


def test_objects_that_a_module_keeps_in_its_checkpoints_are_made_anew(workdir: Path) -> None:
    words = own("Odd")
    part, whole = shoal.train(words), shoal.train([*words, "trainer.max_epochs=4"])

    resume(part.path, ["trainer.max_epochs=4"], trusted=["published"])

    assert part.metrics.equals(whole.metrics)
    assert "no checkpoint can hold a functools.partial" in (whole.path / "train.log").read_text()


def test_a_run_does_not_go_on_with_an_object_that_has_changed(workdir: Path) -> None:
    run = shoal.train(own("Odder"))

    with pytest.raises(UsageError, match=r"is without a functools\.partial, .* not as it was made"):
        resume(run.path, ["trainer.max_epochs=4"], trusted=["published"])


def optimized(optimizer: str) -> list[str]:
    """Let an optimizer of `published` train a task of shoal's; the words that say so."""
    node = f"+optimizer={{_target_: published.{optimizer}, lr: 0.01}}"
    return ["task=parabola", "task.batch_size=64", "trainer.max_epochs=2", "~optimizer", node]


@pytest.mark.parametrize("engine", ["lightning", "vectorized"])
def test_an_optimizer_with_a_queue_and_no_learning_rate_is_resumed(engine: str, workdir: Path) -> None:
    words = [*optimized("Delayed"), f"engine={engine}"]
    part, whole = shoal.train(words), shoal.train([*words, "trainer.max_epochs=4"])

    resume(part.path, ["trainer.max_epochs=4"], trusted=["published"])

    assert part.metrics.equals(whole.metrics)
    assert "lr" not in part.metrics.columns


def test_a_scheduler_of_an_optimizer_without_a_learning_rate_is_refused(workdir: Path) -> None:
    with pytest.raises(ConfigError, match=r"Cosine .*changes the learning rate, which Delayed does not have"):
        shoal.train([*optimized("Delayed"), "scheduler=cosine"])


def test_a_run_whose_optimizer_keeps_an_object_ends_and_is_not_resumed(workdir: Path) -> None:
    run = shoal.train(optimized("Counting"))

    assert run.info.status == "completed"
    assert len(reloaded(run).predict([0.5, 1.0])) == 2
    with pytest.raises(UsageError, match=r"without a published\.Counter, which no checkpoint can hold"):
        resume(run.path, ["trainer.max_epochs=4"], trusted=["published"])


def test_a_module_without_any_loss_to_judge_by_keeps_its_last_state(workdir: Path) -> None:
    run = shoal.train(own("Metric"))

    assert run.info.best is None
    assert "no loss is logged to tell the best state by" in (run.path / "train.log").read_text()
    assert reloaded(run).evaluate() == {}


def test_the_figure_of_a_module_for_images_is_its_losses_without_a_warning(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shoal.train(own("Images"))

    assert run.directory.fit_figure.exists()
    assert "no figure" not in capsys.readouterr().err
