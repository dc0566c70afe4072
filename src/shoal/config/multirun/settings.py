"""How a sweep is run: the node `sweep` of its configuration, checked before anything is composed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any

from annotated_types import Ge
from omegaconf import DictConfig, OmegaConf

from shoal.build.constructors import build, checked, constructor
from shoal.config.compose import SWEEP
from shoal.config.origins import Origins
from shoal.engines.stack.halving import Halving
from shoal.errors import ConfigError
from shoal.machine import cores


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What does not depend on the sweeper. The file conf/train.yaml says what each means."""

    processes: Annotated[int, Ge(0)] | None = None
    dry_run: bool = False
    fail_fast: bool = False
    retry_failed: bool = False
    block: Annotated[int, Ge(1)] | None = None
    exact: bool = True
    report: bool = False
    curves: list[str] | None = None
    halving: Halving | None = None

    @property
    def workers(self) -> int:
        """Worker processes; 0 where this process does the work."""
        return cores() if self.processes is None else self.processes


def settings_of(config: DictConfig) -> Settings:
    """The settings of a sweep.

    Raises:
        ConfigError: where one is not allowed.
    """
    node: Any = OmegaConf.to_container(config[SWEEP], resolve=True)
    known = {field.name for field in fields(Settings)} - {"halving"}
    given = {name: value for name, value in node.items() if name in known}
    try:
        allowed = checked(given, SWEEP, constructor(f"{Settings.__module__}.{Settings.__name__}"))
        return Settings(**allowed, halving=_halving(node.get("halving") or {}))
    except ConfigError as error:
        raise error.at(source=Origins(list(config.hydra.overrides.task)).of(error.key)) from None


def _halving(node: Mapping[str, Any]) -> Halving | None:
    """None unless a factor is given."""
    if node.get("factor") is None:
        return None
    found: Halving = build({"_target_": f"{Halving.__module__}.{Halving.__name__}", **node}, f"{SWEEP}.halving")
    return found
