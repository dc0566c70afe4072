"""Going on with a run that stopped."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from shoal.app.sources import Sources
from shoal.app.start import importing, located, log_into, quiet_logging
from shoal.app.stored import Stored, changed, refuse_fixed, stored
from shoal.errors import UsageError
from shoal.rundir import RunDir, RunInfo, Status


def resume(path: Path, overrides: Sequence[str] = (), *, trusted: Collection[str] = ()) -> tuple[RunDir, RunInfo]:
    """Go on with the run in `path` from its last checkpoint, bit for bit as if it had never stopped.

    Raises:
        ShoalError: where it is no run, is finished, is in use or damaged, or an override cannot be taken.
    """
    with quiet_logging(), importing():
        found = stored(path, trusted=trusted)
        config, changes = changed(found.config, overrides)
        refuse_fixed(changes)
        _refuse_finished(found, config)
        for change in changes:
            print(f"changed  {change}", file=sys.stderr)

        from shoal.app.jobs import job
        from shoal.record.training import train

        with located(Sources(overrides, found.info.choices)):
            built = job(config)
        info = replace(found.info, sessions=found.info.sessions + 1, overrides=[*found.info.overrides, *overrides])
        log_into(found.run)
        return found.run, train(built, found.run, info, resume=True)


def _refuse_finished(found: Stored, config: dict[str, Any]) -> None:
    """Refuse a run that has done all that its settings ask for.

    Raises:
        UsageError: how far it is, and how to go on.
    """
    info, trainer = found.info, config["trainer"]
    n_epochs, n_steps = trainer.get("max_epochs"), trainer.get("max_steps")
    done = ((n_epochs or -1) > 0 and info.epochs >= n_epochs) or ((n_steps or -1) > 0 and info.steps >= n_steps)
    if info.status is Status.COMPLETED and (done or config == found.config):
        raise UsageError(
            f"{found.run.path} is finished: {info.epochs} epochs, {info.steps} steps",
            hint=f"to train on: shoal resume {found.run.path} trainer.max_epochs={info.epochs * 2}",
        )
