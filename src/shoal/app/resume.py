"""Going on with a run that stopped."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from shoal.build.importing import importing
from shoal.build.trust import refuse_impostors, refuse_strangers
from shoal.config.origins import Origins, located
from shoal.config.resume_overrides import changed, refuse_fixed
from shoal.config.working_directory import in_its_directory
from shoal.errors import ConfigError, DamagedError, UsageError
from shoal.instructions import choose
from shoal.loaded.opened import OpenedRun, open_run
from shoal.pictures import beside
from shoal.rundir import RunDir, RunInfo, Status, unsealed
from shoal.rundir.changes import Change, differences
from shoal.rundir.info import note_of, tags_of
from shoal.rundir.log import log_through, quiet_logging
from shoal.startup import cheap_imports, keep_what_is_imported

if TYPE_CHECKING:
    from shoal.engines.job import Job

Which = Literal["last", "best"]


def resume(
    path: Path,
    overrides: Sequence[str] = (),
    *,
    trusted: Collection[str] = (),
    which: Which = "last",
    own_process: bool = False,
) -> tuple[RunDir, RunInfo]:
    """Go on with the run in `path` from its last checkpoint, bit for bit as if it had never stopped.

    `path` may also be the checkpoint itself, `which` is the one to go on from otherwise.

    Of a process that only takes part in the training of another the status is `running`, as `start` has it. In its own
    process it may begin another one beside it and spare what is imported, as `start` does.

    Raises:
        ShoalError: where it is no run, is finished, is in use or damaged, or an override cannot be taken.
    """
    with quiet_logging(), beside.ending(), importing():
        path, which = _addressed(path, which)
        found = open_run(path, trusted=trusted)
        refuse_strangers(found.config, trusted)
        config, asked = changed(found.config, overrides)
        refuse_fixed(asked)
        _refuse_finished(found, config, asked)
        checkpoint = _checkpoint(found.run, which)
        with located(Origins(otherwise=str(found.run.config))):
            choose(config.get("numerics"))
        if own_process:
            beside.begin()
        with cheap_imports():
            from shoal.app.work import TrainingWork
            from shoal.build.checked_job import job, task
        from shoal.record.run_record import unchanged

        with located(Origins(overrides, otherwise=str(found.run.config))):
            refuse_impostors(config, trusted)
            unchanged(found.info, task(config["task"]))
            built = job(config)
            before, changes = _before(found.run, checkpoint, built, trusted) if checkpoint else (None, [])
        todo = TrainingWork(built)
        if todo.assists:
            beside.end()
            todo.assist(checkpoint=checkpoint, before=before)
            return found.run, replace(found.info, status=Status.RUNNING)
        _tell(changes)
        info = replace(
            found.info,
            sessions=found.info.sessions + 1,
            overrides=[*found.info.overrides, *overrides],
            tags=tags_of(config),
            note=note_of(config),
        )
        log_through(logging.FileHandler(found.run.log, encoding="utf-8"))
        if own_process:
            keep_what_is_imported()
        # With hydra.job.chdir the run works in another directory than this one.
        state = checkpoint.absolute() if checkpoint else None
        with in_its_directory(found.run) as run:
            return found.run, todo.do(run, info, checkpoint=state, before=before)


def _before(run: RunDir, checkpoint: Path, built: Job, trusted: Collection[str]) -> tuple[Job | None, Sequence[Change]]:
    """The job that saved a checkpoint, where `built` differs from it in anything that matters; and all that differs.

    Raises:
        ShoalError: where it cannot go on under one of them.
    """
    from shoal.app.continued import matters, refuse_misplaced, refuse_stopped, refuse_unmade
    from shoal.build.checked_job import job
    from shoal.engines.course import unfit
    from shoal.engines.position import Position
    from shoal.record.checkpoints.checkpoint_file import EXTRA, load

    state = load(checkpoint)
    was = state[EXTRA]["config"]
    changes = differences(was, built.config)
    refuse_unmade(changes, state, was)
    refuse_misplaced(changes, state, Position(*state[EXTRA]["position"]))
    # The checkpoint has a text of its own, not the one that was looked at: it may name other classes.
    refuse_strangers(was, trusted)
    refuse_impostors(was, trusted)
    before = job(was) if any(matters(change) for change in changes) else None
    if before and state[EXTRA]["over"] is not None:
        refuse_stopped(changes, state, was, run.path)
    changed = [change for change in changes if change.key.startswith("optimizer.")]
    reason = unfit(before.optimizer, built.optimizer) if before and changed else None
    if reason:
        problem = f"cannot change in a run that has begun: its optimizer's state was made without it ({reason})"
        raise ConfigError(changed[0].key, changed[0].new, problem, hint="start a new run for that")
    return before, changes


def _tell(changes: Sequence[Change]) -> None:
    """Say in what the run goes on otherwise than it began."""
    from shoal.app.continued import BEST

    for change in changes:
        print(f"changed  {change}", file=sys.stderr)
    if any(change.key in BEST for change in changes):
        print("changed  the best state: from here on it is chosen anew, by what is monitored now", file=sys.stderr)


def _addressed(path: Path, which: Which) -> tuple[Path, Which]:
    """The run directory and the checkpoint that a path means, which may be that of a checkpoint."""
    for name in get_args(Which):
        if path.name == f"{name}.ckpt" and path.parent.name == "checkpoints":
            return path.parent.parent, name
    return path, which


def _checkpoint(run: RunDir, which: Which) -> Path | None:
    """The checkpoint to go on from; None where the run stopped before it saved one.

    Raises:
        UsageError: where it is damaged or missing: which other one is not.
    """
    wanted, other = (run.last, run.best) if which == "last" else (run.best, run.last)
    if not wanted.exists() and not other.exists():
        print(f"{run.path} had saved no checkpoint: it starts again from the beginning", file=sys.stderr)
        return None
    try:
        unsealed(wanted)
    except DamagedError as error:
        raise UsageError(error.problem, hint=_offer(run, other)) from error
    return wanted


def _offer(run: RunDir, other: Path) -> str:
    """The way out where one checkpoint is damaged."""
    try:
        unsealed(other)
    except DamagedError:
        return f"{other.name} is no better; train it again: {run.config} says how"
    return f"{other.name} is intact: resume={other}, or shoal resume {run.path} --from {other.stem}"


def _refuse_finished(found: OpenedRun, config: dict[str, Any], changes: Sequence[Change]) -> None:
    """Refuse a run that has done all that its settings ask for.

    Raises:
        UsageError: how far it is, and how to go on.
    """
    from shoal.app.continued import matters

    info, trainer = found.info, config["trainer"]
    n_epochs, n_steps = trainer.get("max_epochs"), trainer.get("max_steps")
    # What is no number has not been checked yet, and is refused once it is.
    done = any(
        isinstance(most, int) and 0 < most <= taken for most, taken in ((n_epochs, info.epochs), (n_steps, info.steps))
    )
    if info.status is Status.COMPLETED and (done or not any(map(matters, changes))):
        raise UsageError(
            f"{found.run.path} is finished: {info.epochs} epochs, {info.steps} steps",
            hint=f"to train on: shoal resume {found.run.path} trainer.max_epochs={info.epochs * 2}",
        )
