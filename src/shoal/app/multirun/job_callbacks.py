"""Hydra's callbacks of a job, in a sweep whose jobs train in other processes: they are called where the sweep runs."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.callbacks import Callbacks
from hydra.core.utils import JobReturn
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from shoal.app.multirun.job_return import tell
from shoal.config.hydra_config import read_from, typed
from shoal.config.multirun.job_config import JobConfig
from shoal.rundir import RunInfo


class JobCallbacks:
    """Calls `on_job_start` as a job is given to a process and `on_job_end` as it is heard to have ended."""

    def __init__(self, callbacks: Callbacks, sweep: Path) -> None:
        self.callbacks = callbacks
        self.sweep = sweep

    def start(self, job: JobConfig, number: int, path: Path) -> None:
        """A job begins, in the directory `path`."""
        with read_from(self._config(job, number, path)) as config:
            self.callbacks.on_job_start(config=config, task_function=_elsewhere)

    def end(self, job: JobConfig, number: int, path: Path, info: RunInfo) -> None:
        """A job has come to an end of any kind."""
        with read_from(self._config(job, number, path)) as config:
            self.callbacks.on_job_end(config=config, job_return=_returned(config, info))

    def _config(self, job: JobConfig, number: int, path: Path) -> DictConfig:
        """The configuration that Hydra would have given the job."""
        # From its text: jobs are kept as plain values, and ten thousand configurations would not fit.
        config: Any = OmegaConf.create(yaml.safe_load(job.config_yaml))
        # Jobs of the same choices share it, and each is to read its own.
        config.hydra = copy.deepcopy(job.hydra.config)
        # As Hydra hands it out: a callback that sets a new key is told so.
        OmegaConf.set_struct(config, True)
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra.job.id = config.hydra.job.num = number
            config.hydra.job.override_dirname = job.override_dirname
            config.hydra.overrides.task = list(job.overrides)
            config.hydra.runtime.output_dir = str(path.absolute())
            config.hydra.sweep.dir, config.hydra.sweep.subdir = str(self.sweep), path.name
        found: DictConfig = config
        return found


def _returned(config: DictConfig, info: RunInfo) -> JobReturn:
    # Hydra's `JobReturn.cfg` is the user's part alone.
    own = config.copy()
    with read_write(own), open_dict(own):
        del own["hydra"]
    found = JobReturn(overrides=typed(config.hydra), cfg=own, hydra_cfg=config, task_name="train")
    found.working_dir = str(Path.cwd())
    return tell(found, info)


def _elsewhere(config: Any) -> Any:
    """The task of a job: another process does it."""
    raise NotImplementedError("the job is trained by a worker process of the sweep")
