"""The two engines agree under every setting of the Trainer, the callbacks and the optimizers that both follow."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pytorch_lightning import callbacks
from pytorch_lightning.callbacks import EarlyStopping

from own_runs import SAMPLES, trained, write_task
from shoal.app.composed_job import composed_job
from shoal.app.start import start
from shoal.engines.hook_names import CALLED
from shoal.engines.vectorized.member import unsupported
from shoal.errors import ConfigError, shown
from shoal.record import Checkpoint
from shoal.record.checkpoints.checkpoint_file import EXTRA, load
from shoal.rundir import RunDir, RunInfo, read_history, read_info
from shoal.sweeps.plan import KNOWN, why_alone
from spread import one_of

pytestmark = [
    pytest.mark.usefixtures("undrawn"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*does not have many workers.*"),
]

CONF = Path(__file__).parents[2] / "conf"
WORDS = [
    "task.n_samples=30",
    "task.batch_size=5",
    "task.val_batch_size=4",
    "model.hidden=[3]",
    "callbacks=quiet",
    "optimizer.lr=0.1",
    "trainer.precision=64-true",
]
"""24 samples to train on are 5 steps an epoch, the last of them of 4 samples."""
LENGTH = "trainer.max_epochs=4"
TRAINER: dict[str, list[str]] = {
    "accelerator": ["auto"],
    "devices": ["auto"],
    "strategy": [],
    "num_nodes": [],
    "precision": ["64"],
    "max_epochs": ["-1 trainer.max_steps=12", "null trainer.max_steps=12", "3 trainer.max_steps=12"],
    "min_epochs": ["4", "6 trainer.max_epochs=9"],
    "max_steps": ["3", "10", "13"],
    "min_steps": [],
    "max_time": [],
    "gradient_clip_val": ["0.05"],
    "gradient_clip_algorithm": ["value trainer.gradient_clip_val=0.01"],
    "accumulate_grad_batches": ["2", "7"],
    "deterministic": ["true", "warn"],
    "benchmark": ["true"],
    "log_every_n_steps": [],
    "check_val_every_n_epoch": ["2", "3"],
    "val_check_interval": ["1.0"],
    "num_sanity_val_steps": ["2", "-1"],
    "limit_train_batches": ["2", "0.5", "100"],
    "limit_val_batches": ["1", "0.5", "0"],
    "limit_test_batches": ["1 task.test_fraction=0.2"],
    "limit_predict_batches": [],
    "overfit_batches": ["0"],
    "fast_dev_run": ["false"],
    "inference_mode": ["false"],
    "use_distributed_sampler": ["false"],
    "profiler": [],
    "detect_anomaly": [],
    "sync_batchnorm": ["true"],
    "reload_dataloaders_every_n_epochs": [],
    "enable_model_summary": ["true"],
    "plugins": ["[]"],
}
"""For each argument of the Trainer values that both engines follow, beside its default."""
ALONE = {
    "strategy": "ddp",
    "num_nodes": 2,
    "min_steps": 3,
    "max_time": "00:00:01:00",
    "log_every_n_steps": 2,
    "profiler": "simple",
    "detect_anomaly": True,
    "reload_dataloaders_every_n_epochs": 1,
    "limit_predict_batches": 1,
}
"""The arguments that a stack follows as they stand only, each with another value."""
STOPPING = "callbacks=early_stopping callbacks.progress=null callbacks.early_stopping"
CALLBACKS = [
    "callbacks.checkpoint.monitor=train/loss",
    "callbacks.checkpoint.monitor=val/loss callbacks.checkpoint.mode=max",
    "callbacks.checkpoint.every_seconds=0",
    "callbacks.lr=null",
    "callbacks.grad_norm=null",
    "callbacks.grad_norm=null trainer.gradient_clip_val=0.05",
    f"{STOPPING}.patience=1",
    f"{STOPPING}.patience=0",
    f"{STOPPING}.patience=1 trainer.min_epochs=5 trainer.max_epochs=9",
    f"{STOPPING}.patience=1 trainer.min_epochs=5 trainer.max_epochs=9 trainer.check_val_every_n_epoch=2",
    f"{STOPPING}.patience=1 trainer.check_val_every_n_epoch=2",
    f"{STOPPING}.monitor=train/loss callbacks.early_stopping.patience=1",
    f"{STOPPING}.monitor=train/loss callbacks.early_stopping.patience=1 trainer.check_val_every_n_epoch=2",
    f"{STOPPING}.mode=max callbacks.early_stopping.patience=2",
    f"{STOPPING}.min_delta=0.01 callbacks.early_stopping.patience=1",
    f"{STOPPING}.patience=1 +callbacks.early_stopping.stopping_threshold=0.05",
    f"{STOPPING}.patience=9 +callbacks.early_stopping.divergence_threshold=0.05",
    f"{STOPPING}.patience=1 +callbacks.early_stopping.verbose=true",
    f"{STOPPING}.patience=1 +callbacks.early_stopping.check_finite=false",
    f"{STOPPING}.patience=1 +callbacks.early_stopping.strict=false",
    f"{STOPPING}.monitor=lr callbacks.early_stopping.mode=min callbacks.early_stopping.patience=2",
    f"{STOPPING}.patience=2 +callbacks.early_stopping.check_on_train_epoch_end=true trainer.max_epochs=9",
    f"{STOPPING}.patience=2 +callbacks.early_stopping.check_on_train_epoch_end=false trainer.max_epochs=9",
    f"{STOPPING}.patience=1 +callbacks.early_stopping.log_rank_zero_only=true",
    f"{STOPPING}.monitor=train/loss callbacks.early_stopping.patience=1 trainer.limit_val_batches=0",
    "callbacks.checkpoint=null",
    "callbacks.checkpoint=null task.val_fraction=0",
    "callbacks=default callbacks.progress.refresh_seconds=0.001 callbacks.progress.line_seconds=0.001",
]
MINE = "+callbacks.mine="
FOLLOWS = f"{MINE}{{_target_:hooked.Follows}}"
NOTED = ",".join(
    f"{hook}:{{_target_:hooked.noted,_partial_:true,_args_:[{hook}]}}" for hook in CALLED if hook != "setup"
)
OF_ONES_OWN = [
    FOLLOWS,
    f"{FOLLOWS} trainer.check_val_every_n_epoch=2 trainer.limit_train_batches=3",
    f"{FOLLOWS} trainer.accumulate_grad_batches=2",
    f"{FOLLOWS} task.val_fraction=0",
    f"{FOLLOWS} trainer.limit_val_batches=0 trainer.max_steps=12",
    f"{MINE}{{_target_:hooked.Follows,most:2}}",
    f"{MINE}{{_target_:hooked.Follows,most:2}} trainer.min_epochs=3",
    f"{MINE}{{_target_:hooked.Counts,most:3}} {STOPPING}.patience=1",
    f"{MINE}{{_target_:lightning.pytorch.callbacks.LambdaCallback,{NOTED}}}",
]
"""Callbacks with all hooks that a stack calls: of the user's own, and functions given to a LambdaCallback."""
AVERAGE = "+callbacks.average={_target_:lightning.pytorch.callbacks"
AVERAGES = [
    f"{AVERAGE}.EMAWeightAveraging,decay:0.8}}",
    f"{AVERAGE}.EMAWeightAveraging,update_every_n_steps:3,update_starting_at_step:2,decay:0.6}} trainer.max_epochs=5",
    f"{AVERAGE}.EMAWeightAveraging,use_buffers:false,decay:0.9}} trainer.limit_val_batches=0.5",
    f"{AVERAGE}.WeightAveraging}} {STOPPING}.patience=1 trainer.accumulate_grad_batches=2",
]
LENGTHS = [
    "trainer.min_epochs=3 trainer.max_steps=6 trainer.max_epochs=9",
    "trainer.accumulate_grad_batches=3 trainer.limit_train_batches=4 trainer.max_steps=5",
    "trainer.limit_train_batches=0.7 trainer.limit_val_batches=0.5 trainer.check_val_every_n_epoch=2",
    "trainer.limit_train_batches=1.0 trainer.limit_val_batches=1.0",
    "trainer.limit_train_batches=3 trainer.max_steps=7 trainer.check_val_every_n_epoch=2",
    "trainer.max_steps=15 trainer.max_epochs=3",
]
"""Limits that meet, within an epoch and at its end."""
HOW = {"fused", "foreach", "initial_lr"}
"""How an optimizer of torch computes, and what only a scheduler notes."""
PIECES = [
    "optimizer=sgd optimizer.lr=0.1 optimizer.momentum=0.9 optimizer.nesterov=true optimizer.weight_decay=0.01",
    "optimizer=adamw optimizer.lr=0.1 optimizer.beta1=0.8 optimizer.beta2=0.9 optimizer.eps=1e-3",
    "optimizer=rmsprop optimizer.alpha=0.9 optimizer.momentum=0.5",
    "scheduler=cosine trainer.max_epochs=-1 trainer.max_steps=12",
    "scheduler=cosine trainer.max_epochs=9 trainer.max_steps=12",
    "scheduler=onecycle trainer.accumulate_grad_batches=2",
    "scheduler=warmup scheduler.steps=3 scheduler.then=cosine trainer.limit_train_batches=0.5",
    "scheduler=plateau scheduler.patience=0 scheduler.threshold=0.5 trainer.check_val_every_n_epoch=2",
    "scheduler=plateau scheduler.patience=0 scheduler.monitor=train/loss scheduler.cooldown=1",
    "loss=huber loss.delta=0.1",
    "loss=mae",
    "model.dropout=0.3",
]


def summed_up(engine: str, words: str) -> tuple[RunInfo, dict[str, Any]]:
    """What run.json says of a run by this engine, and what the run has come to."""
    length = [] if "max_epochs" in words else [LENGTH]
    Path("noted").unlink(missing_ok=True)
    run, info = start([*WORDS, *length, *words.split(), f"engine={engine}", f"hydra.run.dir={engine}"])
    return info, summary(run)


def noted_in_training() -> str | None:
    """What functions of a `LambdaCallback` wrote down, but for what they did when the first steps were tried."""
    if not Path("noted").exists():
        return None
    text = Path("noted").read_text()
    return text[text.rindex("on_fit_start") :]


def summary(run: RunDir) -> dict[str, Any]:
    """What a run has come to, as numbers and words."""
    info, last = read_info(run.info), load(run.last)
    states, [group] = last["callbacks"], last["optimizer_states"][0]["param_groups"]
    return {
        "rows": [dict(sorted(row.items())) for row in read_history(run.history).rows],
        "final": dict(sorted(info.final.items())),
        "best": vars(info.best) if info.best else None,
        "end": [info.status, info.reason, info.epochs, info.steps, last["epoch"], last["global_step"]],
        "position": last[EXTRA]["position"],
        "stopping": [dict(states[key]) for key in states if key.startswith("EarlyStopping")],
        "own callbacks": {key: states[key] for key in states if key.startswith(("Follows", "Counts"))},
        "noted": noted_in_training(),
        "optimizer": {key: group[key] for key in sorted(group.keys() - HOW)},
        "weights": last["state_dict"],
        "best weights": load(run.best)["state_dict"] if run.best.exists() else None,
    }


def compare(one: Any, other: Any, at: str = "") -> list[str]:
    """The places where two summaries are further apart than rounding in float64 explains."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return [] if torch.allclose(one.double(), other.double(), rtol=1e-9, atol=1e-11) else [at]
    if isinstance(one, dict) and isinstance(other, dict):
        if list(one) != list(other):
            return [f"{at}: {list(one)}, {list(other)}"]
        return [each for key in one for each in compare(one[key], other[key], f"{at}.{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            return [f"{at}: {len(one)} and {len(other)} long"]
        return [each for i, pair in enumerate(zip(one, other, strict=True)) for each in compare(*pair, f"{at}[{i}]")]
    if isinstance(one, float) and isinstance(other, float):
        return [] if one == pytest.approx(other, rel=1e-9, abs=1e-11, nan_ok=True) else [f"{at}: {one}, {other}"]
    if isinstance(one, str) and isinstance(other, str):
        one, other = (re.sub(r"\d+\.\d+", lambda found: f"{float(found[0]):.9g}", each) for each in (one, other))
    return [] if one == other else [f"{at}: {one!r}, {other!r}"]


def test_every_argument_of_the_trainer_is_compared() -> None:
    configured = yaml.safe_load((CONF / "trainer/default.yaml").read_text())

    assert TRAINER.keys() == configured.keys() - {"_target_"}


def test_an_argument_of_the_trainer_without_a_case_has_one_value_in_a_stack(workdir: Path) -> None:
    asked = composed_job([*WORDS, LENGTH]).trainer

    assert ALONE.keys() == {name for name, values in TRAINER.items() if not values}
    for name in ALONE.keys() - {"limit_predict_batches"}:
        why = unsupported({**asked, name: ALONE[name]}) or ""
        assert why.startswith(f"a stack cannot follow trainer.{name}={shown(ALONE[name])}: with trainer.{name}=")
    with pytest.raises(ConfigError, match="has no effect"):
        composed_job([*WORDS, LENGTH, "trainer.limit_predict_batches=1"])


def test_every_callback_of_the_configuration_is_compared() -> None:
    names = set()
    for file in (CONF / "callbacks").glob("*.yaml"):
        names |= (yaml.safe_load(file.read_text()) or {}).keys() - {"defaults"}

    compared = {name for case in CALLBACKS for name in re.findall(r"callbacks\.(\w+)", case)}
    assert names == compared


@pytest.mark.parametrize("callback", KNOWN)
def test_every_setting_of_a_callback_that_a_stack_follows_is_compared(callback: type) -> None:
    settings = set(inspect.signature(callback).parameters)

    compared = {name for case in CALLBACKS for name in re.findall(r"callbacks\.\w+\.(\w+)", case)}
    compared |= set(re.findall(rf"(?<={re.escape(STOPPING)}\.)\w+", " ".join(CALLBACKS)))
    assert settings - compared == ({"every_n_train_steps"} if callback is Checkpoint else set())  # that trains alone


def test_every_callback_of_lightning_that_a_stack_follows_is_compared(workdir: Path) -> None:
    job = composed_job([*WORDS, LENGTH])
    settings = {"EarlyStopping": {"monitor": "val/loss"}, "StochasticWeightAveraging": {"swa_lrs": 0.1}}
    settings |= {
        "LearningRateFinder": {},
        "BatchSizeFinder": {},
        "GradientAccumulationScheduler": {"scheduling": {0: 1}},
    }
    settings |= {"ThroughputMonitor": {"batch_size_fn": len}, "ModelPruning": {"pruning_fn": "l1_unstructured"}}
    settings |= {"OnExceptionCheckpoint": {"dirpath": "made"}}

    kinds = [getattr(callbacks, name) for name in callbacks.__all__]
    made = [kind(**settings.get(kind.__name__, {})) for kind in kinds if not inspect.isabstract(kind)]
    followed = {
        type(each).__name__ for each in made if why_alone(replace(job, callbacks={"mine": each}), job.module()) is None
    }

    compared = {name for name in callbacks.__all__ for case in [*AVERAGES, *OF_ONES_OWN] if f".{name}" in case}
    assert followed == compared | {"EarlyStopping", "Callback"}  # the second does nothing


def test_early_stopping_between_two_validations_is_refused(workdir: Path) -> None:
    words = f"{STOPPING}.check_on_train_epoch_end=true trainer.check_val_every_n_epoch=2"

    with pytest.raises(ConfigError, match="looks after each epoch, and val/loss is measured in one of 2"):
        composed_job(
            [*WORDS, LENGTH, *words.replace("callbacks.early_stopping.", "+callbacks.early_stopping.").split()]
        )


def test_a_callback_that_inherits_from_one_that_a_stack_follows_trains_alone(workdir: Path) -> None:
    class Mine(EarlyStopping):
        """May do anything."""

    job = composed_job([*WORDS, LENGTH])

    reason = why_alone(replace(job, callbacks={"mine": Mine(monitor="val/loss")}), job.module())

    assert reason is not None
    assert reason.startswith("callbacks.mine (Mine) needs a Trainer of its own: ")
    assert why_alone(job, job.module()) is None


@pytest.mark.parametrize(
    "words",
    one_of(
        3,
        [
            *(f"trainer.{name}={value}" for name, values in TRAINER.items() for value in values),
            *CALLBACKS,
            *OF_ONES_OWN,
            *AVERAGES,
            *LENGTHS,
            *PIECES,
        ],
    ),
)
def test_the_engines_agree(words: str, workdir: Path) -> None:
    alone, one = summed_up("lightning", words)
    stacked, other = summed_up("vectorized", words)

    assert [alone.engine, stacked.engine] == ["lightning", "vectorized"]
    assert compare(one, other) == []


@pytest.mark.parametrize("monitor", ["val_loss", "both", "both_epoch", "unseen", "val_late", "val_both_epoch"])
def test_the_engines_agree_on_what_a_module_of_the_users_own_logs(monitor: str, workdir: Path) -> None:
    write_task("talkative", "Talkative", SAMPLES, dropout=0.0, lr=0.05)
    monitored = f"callbacks.checkpoint.monitor={monitor} callbacks.checkpoint.mode=min"
    words = f"task=talkative {monitored} trainer.precision=64-true trainer.max_epochs=3"

    alone, stacked = (
        trained(*words.split(), f"engine={engine}", f"hydra.run.dir={engine}") for engine in ("lightning", "vectorized")
    )

    assert [each.info.engine for each in (alone, stacked)] == ["lightning", "vectorized"]
    one, other = (summary(each.directory) for each in (alone, stacked))
    assert compare(one, other) == []
    assert {"both_epoch", "val_both_step", "sized"} < one["final"].keys()
    assert not {"both", "unseen", "val_unseen"} & one["final"].keys()


def test_a_metric_that_is_not_a_number_at_first_does_not_stay_the_best(workdir: Path) -> None:
    write_task("talkative", "Talkative", SAMPLES, dropout=0.0, lr=0.05)

    monitored = ["callbacks.checkpoint.monitor=val_late", "callbacks.checkpoint.mode=min"]

    run = trained("task=talkative", *monitored, "trainer.max_epochs=3")

    best = run.info.best
    assert best is not None
    assert best.value == min(run.metrics["val_late"].to_list()[1:])
