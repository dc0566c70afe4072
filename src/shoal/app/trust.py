"""A run directory is data: only classes that are known to be harmless are built from its configuration."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from shoal.app.nodes import TARGET
from shoal.errors import UsageError

KNOWN = (
    "shoal.tasks.",
    "shoal.models.",
    "shoal.losses.",
    "shoal.optimizers.",
    "shoal.schedulers.",
    "shoal.record.",
    "torch.nn.",
    "torch.optim.",
    "pytorch_lightning.Trainer",
    "pytorch_lightning.callbacks.",
    "pytorch_lightning.loggers.",
)
"""Where the classes lie that a configuration may name without being trusted. Their names begin with a capital."""


def refuse_strangers(config: Mapping[str, Any], trusted: Collection[str]) -> None:
    """Look at every `_target_` of a configuration before any of them is imported.

    Raises:
        UsageError: where one is neither of the framework, torch or Lightning, nor of a module named in `trusted`.
    """
    for key, path in _targets(config, ""):
        module = path.split(".")[0]
        if module in trusted or any(path.startswith(f"{name}.") for name in trusted):
            continue
        if not path.startswith(KNOWN) or not path.rsplit(".", 1)[-1][:1].isupper() or "._" in path:
            raise UsageError(
                f"{key}={path}: a run directory may only name classes of shoal, torch and Lightning",
                hint=f"if you trust this code, say so: --trust {module}",
            )


def _targets(node: Any, key: str) -> list[tuple[str, str]]:
    if isinstance(node, Mapping):
        found = [(f"{key}.{TARGET}".lstrip("."), str(node[TARGET]))] if TARGET in node else []
        return found + [each for name, value in node.items() for each in _targets(value, f"{key}.{name}".lstrip("."))]
    if isinstance(node, list):
        return [each for i, value in enumerate(node) for each in _targets(value, f"{key}[{i}]")]
    return []
