"""Which way a watched metric is better: as its callback or scheduler says, else as the metric's name tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shoal.build.constructors import target
from shoal.errors import ConfigError
from shoal.judging import AUTO, direction, way_of


def directed(node: Any, key: str) -> Any:
    """The node of a callback, its `mode` the direction of the metric it watches unless that is said.

    Lightning's own callbacks take the smaller value for the better one, of an accuracy too.
    """
    monitor = _undirected(node)
    # A callback of one's own may watch a metric without asking which way is better.
    if monitor is None or "mode" not in target(node, key).parameters:
        return node
    return {**node, "mode": way_of("auto", monitor)}


def _undirected(node: Any) -> str | None:
    """The metric that a node watches without saying in which direction; None where there is no such."""
    if not isinstance(node, Mapping) or node.get("mode", "auto") != "auto":
        return None
    monitor = node.get("monitor")
    return monitor if isinstance(monitor, str) and monitor != AUTO else None


def refuse_undirected(node: Any, key: str) -> None:
    """Refuse to guess the direction of a metric that is logged, and whose name does not tell.

    Raises:
        ConfigError: how to say it.
    """
    monitor = _undirected(node)
    if monitor is not None and direction(monitor) is None:
        problem = f"cannot be known: whether {monitor} is better when it is smaller or larger"
        raise ConfigError(f"{key}.mode", "auto", problem, hint=f"{key}.mode=min or {key}.mode=max")
