"""Hydra's door to shoal's sweeps: all jobs of a sweep are trained together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class ShoalLauncher(Launcher):
    """Trains jobs in stacks and in worker processes."""

    study: Any = None
    """Set by a sweeper that searches: what sweep.json says of the search."""
    more = False
    """Set by a sweeper: whether it will launch further jobs after these."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from shoal.app.multirun.launch import launch

        return launch(self.config, self.hydra_context, job_overrides, initial_job_idx, study=self.study, more=self.more)
