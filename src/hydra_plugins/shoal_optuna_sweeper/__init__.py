"""Hydra's door to shoal's studies: Optuna proposes the jobs of a sweep, a batch at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra_plugins.shoal_sweeper import Launching


class ShoalOptunaSweeper(Launching):
    """Searches with Optuna; the node `sweep` says how."""

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        self.params = params or {}

    def sweep(self, arguments: list[str]) -> Any:
        from shoal.app.search.study import search

        assert self.config is not None
        assert self.hydra_context is not None
        return search(self.launcher, self.config, self.hydra_context, arguments, self.params)
