"""What one launch of a sweep asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from shoal.app.multirun.job_callbacks import JobCallbacks
from shoal.config.multirun.job_config import JobConfig, differing
from shoal.config.multirun.sweep_settings import SweepSettings
from shoal.rundir import StudyInfo, SweepDir
from shoal.sweeps.executor import Executor
from shoal.sweeps.hosts import Hosts


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Jobs, the directory of their sweep, and how they are to be trained."""

    folder: SweepDir
    jobs: Mapping[str, JobConfig]
    """By their hashes."""
    settings: SweepSettings
    hosts: Hosts
    """Where they are trained."""
    begun: Executor | None = None
    """Has the workers that were begun while the jobs were composed, where they are elsewhere."""
    command: Sequence[str]
    first: int
    """Number of the first of them in Hydra's counting: a sweep may be launched a batch at a time."""
    study: StudyInfo | None = None
    """What searches, where the jobs are trials."""
    more: bool = False
    """Whether the same command will launch further jobs after these."""
    callbacks: JobCallbacks | None = None

    @property
    def n_workers(self) -> int:
        """How many blocks train at a time."""
        # No places means that this process does the work.
        return max(1, len(self.hosts.places()))

    @cached_property
    def varies(self) -> list[str]:
        """The settings in which the jobs differ, or that the study searches."""
        searched = self.study.over if self.study else ()
        # A batch of trials may agree in a setting by chance, which is searched all the same.
        return list(dict.fromkeys([*searched, *differing(list(self.jobs.values()))]))
