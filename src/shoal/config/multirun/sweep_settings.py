"""How a sweep is run: the node `sweep` of its configuration, checked before anything is composed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar

from annotated_types import Ge
from omegaconf import DictConfig, OmegaConf

from shoal.build.constructors import build, checked
from shoal.build.named_constructor import constructor
from shoal.config.compose import SWEEP
from shoal.config.hydra_config import typed
from shoal.config.origins import Origins, located
from shoal.engines.stack.halving import Halving
from shoal.errors import ConfigError
from shoal.machine import cores

Form = TypeVar("Form")


@dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """How a sweep is run, however its jobs are chosen. The file conf/train.yaml has the defaults and the meanings."""

    processes: Annotated[int, Ge(0)] | None
    dry_run: bool
    fail_fast: bool
    retry_failed: bool
    block: Annotated[int, Ge(1)] | None
    exact: bool
    report: bool
    curves: list[str] | None
    halving: Halving | None = None

    @property
    def workers(self) -> int:
        """Worker processes of this machine; 0 where this process does the work."""
        return cores() if self.processes is None else self.processes


def settings_of(config: DictConfig) -> SweepSettings:
    """The settings of a sweep.

    Raises:
        ConfigError: where one is not allowed.
    """
    with located(Origins(typed(config.hydra))):
        node = node_of(config)
        halving = _halving(node.pop("halving", None) or {})
        return replace(as_form(SweepSettings, node), halving=halving)


def node_of(config: DictConfig) -> dict[str, Any]:
    """The settings of a sweep as they are written.

    Raises:
        ConfigError: where one of them stands in the place of all.
    """
    # Before `to_container`: of a number in the node's place it would say something about containers.
    whole, halving = (OmegaConf.select(config, key) for key in (SWEEP, f"{SWEEP}.halving"))
    for key, node, example in (
        (SWEEP, whole, f"{SWEEP}.processes=2"),
        (f"{SWEEP}.halving", halving, f"{SWEEP}.halving.factor=3 {SWEEP}.halving.min_epochs=4"),
    ):
        if node is not None and not isinstance(node, DictConfig):
            raise ConfigError(key, node, "is a node of several settings", hint=f"for example {example}")
    settings: Any = OmegaConf.to_container(config[SWEEP], resolve=True)
    return dict(settings)


def as_form(form: type[Form], node: Mapping[str, Any]) -> Form:
    """Those values of the node `sweep` that a form has, checked by its annotations.

    Raises:
        ConfigError: where one is missing or not allowed.
    """
    made = constructor(f"{form.__module__}.{form.__name__}")
    # The node holds the settings of every way to choose jobs: each form takes its own.
    given = {name: value for name, value in node.items() if name in made.parameters}
    return form(**checked(given, SWEEP, made))


def _halving(node: Mapping[str, Any]) -> Halving | None:
    """None unless a factor is given."""
    # The file lists its settings, so that they can be set without a plus; the factor alone turns it on.
    if node.get("factor") is None:
        return None
    found: Halving = build({"_target_": f"{Halving.__module__}.{Halving.__name__}", **node}, f"{SWEEP}.halving")
    return found
