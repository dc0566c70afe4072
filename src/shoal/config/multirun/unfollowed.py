"""Settings of Hydra's that a sweep of shoal's cannot follow: refused, so that none of them is ignored."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from shoal.config.compose import of_sweep
from shoal.config.hydra_config import typed
from shoal.config.origins import COMMAND_LINE, Origins
from shoal.config.shipped_schemas import shipped
from shoal.engines import srun
from shoal.errors import ConfigError, UsageError
from shoal.override_words import key_and_value

SUBDIRS = ("${job_name:${hydra:job.num}}", "${hydra.job.num}", "${hydra:job.num}")
"""Names of run directories that a sweep is content with: its own and Hydra's."""
ONE_BY_ONE = "one by one they can: hydra/launcher=basic"


def refuse_unfollowed(config: DictConfig) -> None:
    """Refuse what only a process for every job could do.

    Raises:
        ConfigError: for the first such setting.
    """
    job: Any = OmegaConf.to_container(config.hydra.job, resolve=False)
    origins = Origins(typed(config.hydra, "hydra"))

    def refused(key: str, value: Any, problem: str, hint: str) -> ConfigError:
        return ConfigError(key, value, problem, hint=hint, source=origins.of(key))

    # Refused, and not ignored: relative paths in the user's code would lead elsewhere.
    if job["chdir"]:
        problem = "the jobs of a sweep share processes, and a process is in one directory"
        raise refused("hydra.job.chdir", True, problem, f"{ONE_BY_ONE}; or write below ${{hydra:runtime.output_dir}}")
    if job["env_set"]:
        name, value = next(iter(job["env_set"].items()))
        problem = "the processes of a sweep are there before its jobs, and more than one job is in them"
        raise refused(
            "hydra.job.env_set", job["env_set"], problem, f"for all of them: {name}={value} before the command"
        )
    subdir = OmegaConf.to_container(config.hydra.sweep, resolve=False)["subdir"]  # type: ignore[index,call-overload]
    # Compared unresolved: the name differs from job to job.
    if subdir not in SUBDIRS:
        problem = "run directories are 0000, 0001, ...: what differs stands in run.json"
        raise refused("hydra.sweep.subdir", subdir, problem, "another name for the whole sweep: hydra.sweep.dir=FOLDER")


def refuse_several_processes() -> None:
    """Refuse a sweep in each of several processes that train one run together.

    Raises:
        UsageError: how the sweep is to be started.
    """
    one = {"srun": "srun --ntasks=1 --cpus-per-task=CORES ", "torchrun": "", "mpirun": ""}
    for starter, n in _started().items():
        if n > 1:
            hint = f"one process trains all of it: {one[starter]}python train.py -m ..."
            problem = f"{starter} started {n} processes, and each of them would train this whole sweep"
            raise UsageError(problem, hint=hint)


def _started() -> dict[str, int]:
    """How many processes each of those that start some says it has started."""
    # Many a script sets WORLD_SIZE by itself: the other name is torchrun's alone.
    torchrun = os.environ.get("WORLD_SIZE", "1") if "TORCHELASTIC_RUN_ID" in os.environ else "1"
    mpirun = os.environ.get("OMPI_COMM_WORLD_SIZE", "1")
    return {"srun": srun.n_processes(), "torchrun": int(torchrun), "mpirun": int(mpirun)}


def refuse_settings_of_sweeps(overrides: Sequence[str]) -> None:
    """Refuse, for a single run, what says how a sweep is run.

    Raises:
        ConfigError: for the first such setting.
    """
    for override in overrides:
        key, value = key_and_value(override)
        # A name that there is not is told once the rest is known, with what may be meant.
        if of_sweep(key) and not _missing(key):
            problem = "says how a sweep is run, and this is a single run"
            raise ConfigError(key, value, problem, hint="a sweep needs -m", source=COMMAND_LINE)


def _missing(key: str) -> bool:
    """Whether there is no such setting of sweeps: `sweep.bootstrap`."""
    group, _, name = key.partition(".")
    known = shipped()["train"]["properties"].get(group, {}).get("properties", {})
    return bool(name and known) and name.partition(".")[0] not in known
