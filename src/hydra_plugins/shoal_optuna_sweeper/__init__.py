"""Hydra's door to shoal's studies: Optuna proposes the jobs of a sweep, a batch at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class ShoalOptunaSweeper(Sweeper):
    """Searches with Optuna; the node `sweep` says how."""

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        self.params = params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        from shoal.app.search.study import search

        assert self.config is not None
        assert self.hydra_context is not None
        return search(self.launcher, self.config, self.hydra_context, arguments, self.params)
