"""Hydra's door to shoal's ways to choose the jobs of a sweep."""

from __future__ import annotations

from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class Launching(Sweeper):
    """A sweeper that has its jobs done by a launcher; which jobs there are is left to its subclasses."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )


class ShoalSweeper(Launching):
    """Hydra's grid; beside it values in step, combinations in a list, and random samples."""

    def __init__(self, **options: Any) -> None:
        self.options = options

    def sweep(self, arguments: list[str]) -> Any:
        from shoal.app.multirun.launch import launch_all

        assert self.config is not None
        assert self.hydra_context is not None
        return launch_all(self.launcher, self.config, self.hydra_context, arguments, self.options)
