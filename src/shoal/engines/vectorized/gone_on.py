"""Going on from a checkpoint of either engine, under the settings that it was saved with or under others."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from shoal.engines.course import Course, take_over
from shoal.engines.job import Job
from shoal.engines.left_gradients import KEY
from shoal.engines.length import may_end
from shoal.engines.resumed import CallbackSettings
from shoal.engines.stack.run_optimizer import RunOptimizer
from shoal.engines.stack.stack import Stack
from shoal.engines.vectorized.running import Running
from shoal.optimizers import Own


def go_on_from(
    checkpoint: Mapping[str, Any],
    running: Running,
    run: int,
    *,
    batch: int = 0,
    before: Job | None = None,
    over: bool = False,
) -> None:
    """Let a run of a stack that has not begun go on from a checkpoint.

    All runs of a stack have to be at the same place: `batch` batches of the checkpoint's epoch are done. `before` is
    the job that the checkpoint was saved by, where it was another one; `over` says that it is the end of a training.
    """
    row, member, stack = running.rows.index(run), running.members[run], running.stack
    optimizer = RunOptimizer.joined(checkpoint["optimizer_states"])
    # Where weights are averaged, Lightning's checkpoint has the average under `state_dict`: it is not what trains.
    stack.load_weights(row, checkpoint.get("current_model_state", checkpoint["state_dict"]))
    stack.load_gradients(row, checkpoint.get(KEY, {}))
    _go_on_with_averages(checkpoint, stack, row)
    stack.load_optimizer_state(row, optimizer["state"], steps=checkpoint["global_step"])
    _go_on_with_rate(checkpoint, running, run, before)
    stopping = member.early_stopping
    if stopping and stopping.state_key in checkpoint["callbacks"]:
        settings = CallbackSettings(member.job.callbacks, before)
        stopping.load_state_dict(copy.deepcopy(checkpoint["callbacks"][stopping.state_key]))
        free = may_end(member.job.trainer, epochs=checkpoint["epoch"], steps=checkpoint["global_step"])
        # After the state: loading it has put the settings of then in the place of those of now.
        settings.restore(over=over and free)
    running.epoch, running.batch = checkpoint["epoch"], batch
    running.sums[run] = {name: list(total) for name, total in checkpoint.get("sums", {}).items()}
    # Rows beyond the runs are still copies of the last one as it was before.
    running.fill_rows()
    member.load_callbacks(checkpoint["callbacks"])
    member.module.on_load_checkpoint(dict(checkpoint))


def _go_on_with_averages(checkpoint: Mapping[str, Any], stack: Stack, row: int) -> None:
    """Let averages go on; those of a run that had none begin with its weights."""
    if stack.averages is None:
        return
    stack.judged.load_weights(row, checkpoint["state_dict"])
    if "averaging_state" in checkpoint:
        stack.averages.taken[row] = int(checkpoint["averaging_state"]["n_averaged"])
        kept = checkpoint["callbacks"].get(stack.averages.how[row].key, {})
        stack.averages.latest[row] = int(kept.get("latest_update_step", 0))


def _go_on_with_rate(checkpoint: Mapping[str, Any], running: Running, run: int, before: Job | None) -> None:
    """Let the learning rate follow the course that it was on, as far as the settings have not changed."""
    rate, job = running.rates[run], running.members[run].job
    groups = RunOptimizer.joined(checkpoint["optimizer_states"])["param_groups"]
    course = None if before is None else Course.of(before, running.horizon_under(before.trainer))
    if isinstance(rate, RunOptimizer):
        rate.epochs = checkpoint["epoch"]
        rate.load(groups, checkpoint["lr_schedulers"])
        # What configure_optimizers makes has no settings in the configuration that could have changed.
        if course and rate.scheduled and not isinstance(job.optimizer, Own):
            take_over(rate.optimizer, rate.scheduled[0].scheduler, course, Course.of(job, running.horizon))
    else:
        for schedule in checkpoint["lr_schedulers"]:
            rate.load_torch(schedule, groups[0], course)
