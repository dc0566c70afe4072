"""Hydra's door for any program: with `python train.py -m hydra/launcher=shoal` Lightning's jobs train in stacks.

Hydra imports this in every program, whether it sweeps or not, so nothing of shoal is imported before a launch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

NODE: Mapping[str, Any] = {
    "_target_": "hydra_plugins.shoal_stacks.StacksLauncher",
    # Worker processes; one for each core where null. 0 runs the jobs in the program's own process.
    "processes": None,
    # Whether jobs train together: where it pays (auto), always, or never.
    "stacks": "auto",
    # Whether the same command goes on with a sweep that was killed.
    "resume": True,
}
# No dataclass: Hydra runs this file before the module is one of sys.modules, where a dataclass looks for its names.
ConfigStore.instance().store(group="hydra/launcher", name="shoal", node=dict(NODE), provider="shoal")


class StacksLauncher(Launcher):
    """Runs jobs as Hydra's own launcher does, those that can train together as stacks."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from shoal import instructions
        from shoal.dropin.composing import compose_quickly

        # What stacks need is set as shoal is imported; without it jobs have the very bits of Hydra's own launcher.
        if self.settings.get("stacks") == "never":
            instructions.take_back()
        else:
            instructions.prepare()
        # Now: a sweeper composes every job once more before it launches any.
        compose_quickly(hydra_context.config_loader)
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from shoal.dropin.hydra_launch import Settings, launch
        from shoal.dropin.hydra_program import HydraProgram

        program = HydraProgram(self.hydra_context, self.task_function, self.config)
        return launch(program, job_overrides, initial_job_idx, Settings.of(self.settings))
