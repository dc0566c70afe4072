"""One run from overrides: compose, check, claim a directory, train, record."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.utils import JobReturn, run_job
from hydra.types import HydraContext
from omegaconf import OmegaConf

from shoal.build.importing import importing
from shoal.config.compose import Composed, composed
from shoal.config.multirun.unfollowed import refuse_settings_of_sweeps
from shoal.config.origins import located
from shoal.errors import DamagedError, UsageError
from shoal.instructions import choose
from shoal.pictures import beside
from shoal.relative_paths import starting_at
from shoal.rundir import RunDir, RunInfo, read_config
from shoal.rundir.atomic import unwritable
from shoal.rundir.log import quiet_logging
from shoal.startup import cheap_imports, keep_what_is_imported, torch_library


def start(
    overrides: Sequence[str],
    *,
    config_dir: str | None = None,
    config_name: str | None = None,
    command: Sequence[str] = (),
    own_process: bool = False,
    told: Callable[[str], None] = lambda _: None,
) -> tuple[RunDir, RunInfo]:
    """Train the run that the overrides ask for; its directory, and what run.json says in the end.

    A process that only takes part in the training of another, as those of ddp do, leaves the record to that one: what
    it gives says `running`.

    In its own process, which ends with this, it may begin another one beside it and spare what is imported.

    `told` is given what the task found in its data, if that is worth telling, before the training begins.

    Raises:
        ShoalError: where the configuration is wrong (nothing was written), or the run ended badly (it is recorded).
    """
    refuse_settings_of_sweeps(overrides)
    with quiet_logging(), beside.ending(), composed(overrides, config_dir=config_dir, config_name=config_name) as found:
        found.place()
        values = found.values()
        _refuse_sweep(found)
        with located(found.origins), importing():
            torch_library.wait()
            choose(values.get("numerics"))
            if own_process and values.get("check") is None:
                beside.begin()
            with cheap_imports():
                from shoal.app.work import TrainingWork, work
                from shoal.record.figures import run_figure  # noqa: F401  with the other imports, before the training begins

            todo = work(values)
            found_in_data = None
            if isinstance(todo, TrainingWork):
                _ = todo.job.data  # what is wrong with it is told before anything is written
                found_in_data = todo.job.task.description()
        # A relative path would lead elsewhere once the run has changed into its directory.
        run = RunDir(found.directory().absolute() if found.config.hydra.job.chdir else found.directory())
        info = RunInfo.new(run.path.name, values, found.choices, command=command, overrides=overrides)
        if isinstance(todo, TrainingWork) and todo.assists:
            beside.end()
            _keep(own_process)
            todo.assist()
            return run, info
        _claim_fresh(run, values)
        _keep(own_process)

        def task(_: object) -> RunInfo:
            if found_in_data:
                told(found_in_data)
                logging.getLogger("shoal").info(found_in_data)
            return todo.do(run, info)

        with starting_at(Path.cwd()):
            return run, _run(found, task)


def _keep(own_process: bool) -> None:
    if own_process:
        keep_what_is_imported()


def _refuse_sweep(found: Composed) -> None:
    """Refuse one run of what an experiment's file says is a sweep: what it expects of all runs would go unsaid.

    Raises:
        UsageError: the option that is missing.
    """
    if OmegaConf.select(found.config, "hydra.sweeper.params"):
        asked = f"experiment={found.choices.get('experiment')}"
        raise UsageError(f"{asked} is a sweep", hint=f"run it with -m: python train.py -m {asked}")


def _run(found: Composed, task: Callable[[object], RunInfo]) -> RunInfo:
    context = HydraContext(config_loader=found.hydra.config_loader, callbacks=Callbacks(found.config))
    try:
        ended: JobReturn = run_job(
            task_function=task,
            config=found.config,
            job_dir_key="hydra.run.dir",
            job_subdir_key=None,
            hydra_context=context,
        )
    except OSError as error:  # Hydra's own record could not be written
        raise unwritable(Path(error.filename or found.directory()), error) from error
    # Not by `return_value`, which prints words of Hydra's before it raises the same.
    if isinstance(ended._return_value, BaseException):
        raise ended._return_value
    info: RunInfo = ended._return_value
    return info


def _claim_fresh(run: RunDir, config: Mapping[str, Any]) -> None:
    """Make a run directory, unless it cannot be written or a run has used it.

    Raises:
        UsageError: where a run lies there already; in what this one differs from it.
        ShoalError: where it cannot be written.
    """
    try:
        if run.info.exists():
            raise UsageError(
                f"{run.path} holds a run already{_unlike(run, config)}",
                hint=f"go on with it: shoal resume {run.path}; or choose another place",
            )
        run.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(run.path, error) from error


def _unlike(run: RunDir, config: Mapping[str, Any]) -> str:
    """In which settings this configuration differs from that of a run that is there."""
    from shoal.rundir.changes import differences

    try:
        changes = differences(read_config(run.config), config)
    except DamagedError:
        return ""
    more = f" and {len(changes) - 4} more" if len(changes) > 4 else ""
    return f", with {'; '.join(map(str, changes[:4]))}{more}" if changes else ", of this very configuration"
