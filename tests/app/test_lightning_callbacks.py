"""Each of Lightning's callbacks, chosen by configuration: it does what it does in Lightning, or is refused."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import pytorch_lightning.accelerators.cpu
import torch
from pytorch_lightning import callbacks

import shoal
from own_runs import write_task
from shoal.app.resume import resume
from shoal.errors import ConfigError
from shoal.loaded.run import Run
from shoal.record.checkpoints.checkpoint_file import load
from spread import one_of

pytestmark = [pytest.mark.usefixtures("undrawn"), pytest.mark.filterwarnings("ignore:.*flops_per_batch.*")]

WORDS = ["task.n_samples=40", "task.batch_size=8", "model.hidden=[4]", "callbacks=quiet"]
_PRUNING = "_target_:lightning.pytorch.callbacks.ModelPruning,pruning_fn:l1_unstructured"
PRUNED = f"+callbacks.pruned={{{_PRUNING},amount:0.5,parameter_names:[weight]}}"
BY_STEP = "trainer.log_every_n_steps=2"


def trained(kind: str, settings: str = "", *words: str, epochs: int = 2) -> Run:
    node = f"{{_target_: lightning.pytorch.callbacks.{kind}{', ' if settings else ''}{settings}}}"
    run = shoal.train([*WORDS, f"trainer.max_epochs={epochs}", f"+callbacks.extra={node}", *words])
    return Run(run.path, trusted=["lightning", "builtins", "published"])


def files(run: Run) -> list[str]:
    return sorted(each.name for each in (run.path / "checkpoints" / "extra").iterdir())


def averages(run: Run) -> bool:
    last = load(run.directory.last)
    own = last.get("current_model_state") or last["shoal"]["going_on"]
    return not torch.equal(last["state_dict"]["model.0.weight"], own["model.0.weight"])


def logged(run: Run) -> str:
    return (run.path / "train.log").read_text()


WORKS: dict[tuple[str, str, str], Callable[[Run], bool]] = {
    ("EarlyStopping", "monitor: val/loss, patience: 0, min_delta: 9", ""): lambda run: run.info.epochs == 2,
    ("ModelCheckpoint", "", ""): lambda run: files(run) == ["epoch-2-step-12.ckpt"],
    ("ModelCheckpoint", "monitor: val/loss, save_top_k: 2, save_last: true", ""): lambda run: len(files(run)) == 3,
    ("ModelCheckpoint", "dirpath: '${hydra:runtime.output_dir}/mine'", ""): lambda run: (run.path / "mine").is_dir(),
    ("StochasticWeightAveraging", "swa_lrs: 0.01, swa_epoch_start: 1", ""): averages,
    ("EMAWeightAveraging", "decay: 0.9", ""): averages,
    ("WeightAveraging", "", ""): averages,
    ("LambdaCallback", "on_fit_start: {_target_: published.noted, _partial_: true}", ""): lambda run: (
        Path("order").read_text() == "fit "
    ),
    ("ModelPruning", "pruning_fn: l1_unstructured, amount: 0.5, parameter_names: [weight]", ""): lambda run: (
        float((load(run.directory.last)["state_dict"]["model.0.weight"] == 0).double().mean()) >= 0.25
    ),
    ("Timer", "duration: '00:00:01:00'", ""): lambda run: run.info.epochs == 3,
    ("ThroughputMonitor", "batch_size_fn: {_target_: published.size, _partial_: true}, window_size: 2", BY_STEP): (
        lambda run: "train/device/batches_per_sec" in run.metrics.columns
    ),
    ("LearningRateMonitor", "logging_interval: epoch", ""): lambda run: "lr-Adam" in run.metrics.columns,
    ("LearningRateMonitor", "", BY_STEP): lambda run: "lr-Adam" in run.metrics.columns,
    ("GradientAccumulationScheduler", "scheduling: {0: 1, 1: 2}", ""): lambda run: run.info.steps == 4 + 2 + 2,
    ("ModelSummary", "", ""): lambda run: "Trainable params" in logged(run),
    ("RichModelSummary", "", ""): lambda run: run.info.epochs == 3,
    ("OnExceptionCheckpoint", "dirpath: made", ""): lambda run: not Path("made").exists(),
}
REFUSED = {
    ("ProgressBar", "", ""): "draws a bar where shoal draws its own line",
    ("RichProgressBar", "", ""): "draws a bar where shoal draws its own line",
    ("TQDMProgressBar", "", ""): "draws a bar where shoal draws its own line\n  see callbacks.progress",
    ("LearningRateFinder", "", ""): "would train with a rate that no configuration says",
    ("BatchSizeFinder", "", ""): "would train with a batch size that no configuration says",
    ("BasePredictionWriter", "", ""): "writes predictions, and a training makes none",
    ("BackboneFinetuning", "", ""): "needs a LightningModule with an attribute backbone",
    ("BaseFinetuning", "", ""): "does nothing by itself",
    ("Callback", "", ""): "does nothing by itself",
    ("Checkpoint", "", ""): "does nothing by itself",
    (
        "EMAWeightAveraging",
        "",
        PRUNED,
    ): "averages weights in their order, which callbacks.pruned (ModelPruning) changes",
    ("DeviceStatsMonitor", "", ""): "logs values of single steps, of which there are no rows",
    (
        "ThroughputMonitor",
        "batch_size_fn: {_target_: builtins.len, _partial_: true}",
        "",
    ): "logs values of single steps",
    ("EarlyStopping", "monitor: val/los", ""): "is never logged\n  did you mean val/loss?",
    ("ModelCheckpoint", "monitor: val/los", ""): "is never logged\n  did you mean val/loss?",
}
ELSEWHERE = {"SpikeDetection"}


def test_every_callback_of_lightning_has_a_fate_here_and_in_the_docs() -> None:
    tried = {kind for kind, *_ in [*WORKS, *REFUSED]} | ELSEWHERE
    page = (Path(__file__).parents[2] / "docs" / "callbacks.md").read_text()

    assert tried == set(callbacks.__all__)
    assert [kind for kind in sorted(tried) if f"`{kind}`" not in page] == []


@pytest.mark.parametrize(("kind", "settings", "words"), one_of(2, WORKS))
def test_a_callback_does_what_it_does_in_lightning_and_resumes(
    kind: str, settings: str, words: str, workdir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = trained(kind, settings, *words.split())

    if kind != "EarlyStopping":
        resume(run.path, ["trainer.max_epochs=3"], trusted=["lightning", "builtins", "published"])

    assert WORKS[kind, settings, words](run)
    if kind != "ModelPruning":  # which prunes after the validation
        assert run.evaluate()["val/loss"] == pytest.approx(run.info.best.value, rel=1e-5)  # type: ignore[union-attr]


@pytest.mark.parametrize(("kind", "settings", "words"), REFUSED)
def test_a_callback_without_an_effect_in_a_run_is_refused_with_the_reason(
    kind: str, settings: str, words: str, workdir: Path
) -> None:
    with pytest.raises(ConfigError) as raised:
        trained(kind, settings, *words.split())

    assert REFUSED[kind, settings, words] in str(raised.value)
    assert len(str(raised.value).splitlines()) <= 3
    assert not Path("outputs").exists()


def test_a_backbone_is_thawed_in_its_epoch_and_after_a_resume(workdir: Path) -> None:
    write_task("backed", "Backed", {}, library="published")
    node = "{_target_: lightning.pytorch.callbacks.BackboneFinetuning, unfreeze_backbone_at_epoch: 2}"
    run = shoal.train(["task=backed", f"+callbacks.extra={node}", "trainer.max_epochs=2"])
    last = run.path / "checkpoints" / "last.ckpt"
    frozen = load(last)

    resume(run.path, ["trainer.max_epochs=4"], trusted=["lightning", "published"])

    assert [len(state["optimizer_states"][0]["param_groups"]) for state in (frozen, load(last))] == [1, 2]
    assert not load(last)["state_dict"]["backbone.weight"].equal(frozen["state_dict"]["backbone.weight"])


@pytest.mark.parametrize("more", ["", ", use_lottery_ticket_hypothesis: false, prune_on_train_epoch_end: false"])
def test_what_was_pruned_stays_so_in_a_run_that_goes_on(more: str, workdir: Path) -> None:
    settings = f"pruning_fn: l1_unstructured, amount: 0.5, parameter_names: [weight]{more}"
    whole, part = (trained("ModelPruning", settings, epochs=epochs) for epochs in (4, 2))

    resume(part.path, ["trainer.max_epochs=4"], trusted=["lightning"])

    found, expected = (load(run.path / "checkpoints" / "last.ckpt")["state_dict"] for run in (part, whole))
    assert all(found[name].equal(value) for name, value in expected.items())


def test_a_rate_logged_as_an_epoch_begins_has_its_row_after_a_resume(workdir: Path) -> None:
    whole, part = (trained("LearningRateMonitor", "logging_interval: epoch", epochs=epochs) for epochs in (4, 2))

    resume(part.path, ["trainer.max_epochs=4"], trusted=["lightning"])

    assert part.directory.history.read_text() == whole.directory.history.read_text()


def test_spikes_are_found_beside_the_losses_before_a_resume_too(workdir: Path) -> None:
    whole, part = (trained("SpikeDetection", "rtol: 1e9, window: 6", epochs=epochs) for epochs in (4, 2))

    resume(part.path, ["trainer.max_epochs=4"], trusted=["lightning"])

    [found], [expected] = (load(run.directory.last)["seen"] for run in (part, whole))
    assert found["n"] == expected["n"] == 16
    assert found["losses"] == expected["losses"]


def test_the_memory_and_load_of_a_machine_are_columns(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = ModuleType("psutil")
    measured.__spec__ = ModuleSpec("psutil", None)
    memory = SimpleNamespace(percent=25.0)
    vars(measured).update(virtual_memory=lambda: memory, swap_memory=lambda: memory, cpu_percent=lambda: 50.0)
    monkeypatch.setitem(sys.modules, "psutil", measured)
    monkeypatch.setattr(pytorch_lightning.accelerators.cpu, "_PSUTIL_AVAILABLE", True)

    rows = trained("DeviceStatsMonitor", "", BY_STEP).metrics

    name = "DeviceStatsMonitor.on_train_batch_end/cpu_"
    assert rows[f"{name}vm_percent"].drop_nulls().to_list() == [25.0] * 4
    assert rows[f"{name}percent"].drop_nulls().to_list() == [50.0] * 4


def test_a_spike_ends_a_run_as_failed_with_its_reason(workdir: Path) -> None:
    with pytest.raises(Exception, match="spike detected in batch"):
        trained(
            "SpikeDetection", "exclude_batches_path: made/skipped.json, rtol: 0.0001, warmup: 1, window: 1", epochs=4
        )
