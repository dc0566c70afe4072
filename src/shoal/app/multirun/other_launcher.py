"""One job of a sweep under a launcher that is not shoal's own, such as Hydra's basic one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from shoal.app.multirun.job_return import objective
from shoal.app.multirun.launch import command_of, of_job
from shoal.config.compose import OF_SWEEPS
from shoal.config.hydra_config import chosen_options, typed
from shoal.errors import UsageError, brief
from shoal.instructions import choose
from shoal.relative_paths import starting_at
from shoal.rundir import RunInfo


def alone(config: DictConfig) -> Any:
    """One job under a launcher that is not shoal's own: Hydra has made its directory, and waits for the objective.

    What goes wrong is told here: Hydra keeps it to itself.
    """
    try:
        # Hydra may have changed into the job's directory; relative paths are the command's.
        with starting_at(HydraConfig.get().runtime.cwd):
            return _alone(config)
    except Exception as error:
        print(f"failed  job {HydraConfig.get().job.num}: {brief(error)}", file=sys.stderr, flush=True)
        raise


def _alone(config: DictConfig) -> float | None:
    from shoal.rundir import RunDir

    hydra = HydraConfig.get()
    values: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    values = {key: value for key, value in values.items() if key not in OF_SWEEPS}
    run = RunDir(Path(hydra.runtime.output_dir))
    # Hydra would write over it: the directories are numbered, and the sweep's may be an old one.
    if run.info.exists():
        raise UsageError(f"{run.path} holds a run already", hint="choose another hydra.sweep.dir")
    choices = chosen_options(hydra.runtime.choices)
    overrides = typed(hydra)
    with of_job(int(hydra.job.num), overrides):
        choose(values.get("numerics"))
        from shoal.app.work import TrainingWork, work
        from shoal.engines.launching import check_one_process

        todo = work(values)
        if isinstance(todo, TrainingWork):
            # Every process that Lightning starts would be a whole sweep again.
            check_one_process(todo.job.trainer)
    info = RunInfo.new(
        f"{run.path.parent.name}-{run.path.name}",
        values,
        choices,
        command=command_of(DictConfig({"hydra": hydra})),
        overrides=overrides,
        job=int(hydra.job.num),
    )
    return objective(todo.do(run, info))
