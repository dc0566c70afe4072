"""What comes of settings that are changed where a run goes on: each takes effect from there on, or is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from shoal.errors import ConfigError, UsageError
from shoal.rundir.changes import Change

if TYPE_CHECKING:
    from shoal.engines.position import Position

WITHOUT_EFFECT = (
    "debug",
    "tags",
    "note",
    "expect",
    "callbacks.progress",
    "callbacks.checkpoint.every_n_train_steps",
    "callbacks.checkpoint.every_seconds",
    "logger",
    "trainer.deterministic",
    "trainer.benchmark",
    "trainer.detect_anomaly",
    "trainer.profiler",
    "trainer.inference_mode",
    "trainer.enable_model_summary",
    "trainer.num_sanity_val_steps",
    "trainer.log_every_n_steps",
    "trainer.limit_test_batches",
    "trainer.limit_predict_batches",
    "trainer.use_distributed_sampler",
)
"""Settings that no number of a training depends on: one that has come to its end does not go on because of them."""
BETWEEN_EPOCHS = (
    "trainer.accumulate_grad_batches",
    "trainer.limit_train_batches",
    "trainer.overfit_batches",
    "trainer.devices",
    "trainer.num_nodes",
)
"""Settings by which the batches of an epoch are counted."""
BEST = ("callbacks.checkpoint.monitor", "callbacks.checkpoint.mode")
"""Settings by which states are compared: those that were kept before are of another kind."""
LIMITS = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time")


def matters(change: Change) -> bool:
    """Whether a training may go another way because of it."""
    return not any(change.key == key or change.key.startswith(f"{key}.") for key in WITHOUT_EFFECT)


def refuse_unmade(changes: Sequence[Change], state: Mapping[str, Any], was: Mapping[str, Any]) -> None:
    """Refuse changes of what the state of the run was made by; `was` is the configuration that it had.

    Raises:
        ConfigError: for the first of them.
    """
    # -1 until the first average, as Lightning's callback counts.
    averages = state["callbacks"].get("StochasticWeightAveraging", {}).get("latest_update_epoch", -1) >= 0
    nodes = {name: node or {} for name, node in was["callbacks"].items()}
    swa = [name for name, node in nodes.items() if "StochasticWeightAveraging" in str(node.get("_target_"))]
    # A share of all epochs begins elsewhere when there are more of them; a number of epochs stays where it is.
    moves = [name for name in swa if isinstance(nodes[name].get("swa_epoch_start", 0.8), float)]
    for change in changes:
        # The key of a whole node: its class is another one, and its state of no use.
        if change.key in ("optimizer", "scheduler", "trainer.fast_dev_run"):
            problem = "cannot change in a run that has begun: its state depends on it"
            raise _refusal(change, problem, "start a new run for that")
        if averages and any(change.key.startswith(f"callbacks.{name}") for name in swa):
            raise _refusal(change, "cannot change once weights are averaged", "start a new run for that")
        if averages and change.key == "trainer.max_epochs" and (moves or state["epoch"] > was["trainer"]["max_epochs"]):
            problem = "would have weights averaged from another epoch on than they were"
            raise _refusal(change, problem, "start a new run; one with swa_epoch_start in epochs can be trained on")


def refuse_misplaced(changes: Sequence[Change], state: Mapping[str, Any], position: Position) -> None:
    """Refuse changes that come too late for where the run stands.

    Raises:
        ConfigError: for the first of them.
    """
    done = {"trainer.max_epochs": (position.epoch, "epochs"), "trainer.max_steps": (position.step, "steps")}
    for change in changes:
        # At the end of an epoch no batch of the next has been counted.
        if change.key in BETWEEN_EPOCHS and position.batch:
            raise _refusal(
                change,
                f"cannot change within an epoch: the run stands at batch {position.batch} of epoch {position.epoch}",
                "go on without it to the end of the epoch, or from the best state: --from best",
            )
        if change.key in done and isinstance(change.new, int) and 0 < change.new <= done[change.key][0]:
            n, noun = done[change.key]
            raise _refusal(change, f"is behind the run, which has done {n} {noun}", f"train on: {change.key}={2 * n}")
    _refuse_spent_time(changes, state)


def refuse_stopped(changes: Sequence[Change], state: Mapping[str, Any], was: Mapping[str, Any], path: object) -> None:
    """Refuse to make a training longer that early stopping has ended, whatever its length.

    `was` is the configuration that it had.

    Raises:
        UsageError: how to go on with it.
    """
    from shoal.engines.length import may_end

    # Lightning's key is the class with its settings behind it.
    stopping = [each for key, each in state["callbacks"].items() if key.startswith("EarlyStopping")]
    # With `min_epochs` the callback's word did not count yet, and the run went on.
    free = may_end(was["trainer"], epochs=state["epoch"], steps=state["global_step"])
    elsewhere = [each for each in changes if each.key not in LIMITS]
    if free and not elsewhere and any(each["stopping_reason"] for each in stopping):
        raise UsageError(
            f"{path} was stopped by early stopping, as it would have been with {changes[0].key}={changes[0].new}",
            hint="give it more patience: callbacks.early_stopping.patience=N, or none: callbacks.early_stopping=null",
        )


def _refuse_spent_time(changes: Sequence[Change], state: Mapping[str, Any]) -> None:
    spent = state["callbacks"].get("Timer", {}).get("time_elapsed", {}).get("train", 0.0)
    for change in changes:
        if change.key != "trainer.max_time" or change.new is None:
            continue
        from pytorch_lightning.callbacks import Timer

        # A time can be written in several ways, of which Lightning's own reading counts.
        allowed = Timer(change.new)._duration or 0.0
        if allowed <= spent:
            shown = timedelta(seconds=round(spent))
            raise _refusal(change, f"is behind the run, which has trained for {shown}", "allow it more")


def _refusal(change: Change, problem: str, hint: str) -> ConfigError:
    return ConfigError(change.key, change.new, problem, hint=hint, source="command line")
