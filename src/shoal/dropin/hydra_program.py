"""The user's program as Hydra has it, and a job of it run as Hydra's own launcher runs it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, configure_log, filter_overrides, run_job
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict


@dataclass(frozen=True)
class HydraJob:
    """A job of a sweep: its number, and what it overrides."""

    number: int
    overrides: tuple[str, ...]

    @property
    def text(self) -> str:
        """What it overrides, as Hydra tells it."""
        return " ".join(filter_overrides(self.overrides))


@dataclass(frozen=True)
class HydraProgram:
    """A task function with its configuration."""

    context: HydraContext
    task: TaskFunction
    config: DictConfig

    @property
    def sweep_dir(self) -> Path:
        """Where the jobs' directories are, as the configuration has it."""
        return Path(str(self.config.hydra.sweep.dir))

    @property
    def has_callbacks(self) -> bool:
        """Whether Hydra calls anything before and after a job."""
        return bool(OmegaConf.select(self.config, "hydra.callbacks"))

    def log_as_launcher(self) -> None:
        """Let logging be that of the sweep itself."""
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)

    def composed(self, job: HydraJob) -> DictConfig:
        """The configuration of a job."""
        config = self.context.config_loader.load_sweep_config(self.config, list(job.overrides))
        # The numbers of a job are missing in its configuration until a launcher gives them.
        with open_dict(config):
            config.hydra.job.id = job.number
            config.hydra.job.num = job.number
        return config

    def run(self, config: DictConfig) -> JobReturn:
        """A composed job, run as Hydra's own launcher does."""
        return run_job(
            hydra_context=self.context,
            task_function=self.task,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )


def directory(config: DictConfig) -> Path:
    """Where a composed job writes."""
    before = HydraConfig.instance().cfg
    # Which `${hydra:...}` reads; without the copy that `set_config` makes of all of it.
    HydraConfig.instance().cfg = config  # type: ignore[assignment]
    try:
        sweep = config.hydra.sweep
        # Absolute: where it is asked for later, the job may have gone to another directory.
        return Path(os.path.abspath(os.path.join(str(sweep.dir), str(sweep.subdir))))
    finally:
        HydraConfig.instance().cfg = before


def jobs(overrides: Sequence[Sequence[str]], first: int) -> list[HydraJob]:
    """The jobs of a launch, numbered from `first`."""
    return [HydraJob(first + place, tuple(each)) for place, each in enumerate(overrides)]
