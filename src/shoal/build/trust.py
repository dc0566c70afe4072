"""A run directory is data: only classes that are known to be harmless are built from its configuration."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from shoal.aliases import canonical
from shoal.build.constructors import TARGET, constructor
from shoal.errors import UsageError

KNOWN = (
    "shoal.tasks",
    "shoal.tasks.tables",
    "shoal.models",
    "shoal.losses",
    "shoal.optimizers",
    "shoal.schedulers",
    "shoal.record",
    "torch.nn",
    "torch.optim",
    "torch.optim.lr_scheduler",
)
"""The modules whose classes a configuration may name without being trusted: directly, not through what they import."""
NAMED = (
    "pytorch_lightning.Trainer",
    "pytorch_lightning.callbacks.EMAWeightAveraging",
    "pytorch_lightning.callbacks.EarlyStopping",
    "pytorch_lightning.callbacks.GradientAccumulationScheduler",
    "pytorch_lightning.callbacks.LearningRateMonitor",
    "pytorch_lightning.callbacks.StochasticWeightAveraging",
    "pytorch_lightning.callbacks.Timer",
    "pytorch_lightning.callbacks.WeightAveraging",
    "torch.optim.swa_utils.SWALR",
)
"""Of Lightning only these: other callbacks and loggers write files where they are told, or talk to servers."""


def refuse_strangers(config: Mapping[str, Any], trusted: Collection[str]) -> None:
    """Look at every `_target_` of a configuration before any of them is imported.

    Raises:
        UsageError: where one is neither of the framework, torch or Lightning, nor of a module named in `trusted`.
    """
    for key, path in _targets(config, ""):
        if not _is_trusted(path, trusted) and not _is_known(path):
            raise _refusal(key, path)


def refuse_impostors(config: Mapping[str, Any], trusted: Collection[str]) -> None:
    """Look at what every `_target_` leads to, before any of them is called: a class defined in the module's package.

    Raises:
        UsageError: where one is something else that the module merely imports.
    """
    for key, path in _targets(config, ""):
        if _is_trusted(path, trusted):
            continue
        try:
            found = constructor(path).call
        except ValueError:
            continue  # what cannot be found cannot be called: told when the node is checked
        package = canonical(path).split(".")[0]
        if not isinstance(found, type) or canonical(found.__module__).split(".")[0] != package:
            raise _refusal(key, path)


def _is_trusted(path: str, trusted: Collection[str]) -> bool:
    return any(path == name or path.startswith(f"{name}.") for name in trusted)


def _is_known(path: str) -> bool:
    path = canonical(path)
    module, _, name = path.rpartition(".")
    return path in NAMED or (module in KNOWN and name[:1].isupper() and name.isidentifier())


def _refusal(key: str, path: str) -> UsageError:
    module = path.rpartition(".")[0] or path
    return UsageError(
        f"{key}={path}: a run directory may only name classes of shoal, torch and Lightning",
        hint=f"if you trust this code, say so: --trust {module}",
    )


def _targets(node: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        for name, value in node.items():
            if name == TARGET:
                yield f"{key}.{TARGET}".lstrip("."), str(value)
            yield from _targets(value, f"{key}.{name}".lstrip("."))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from _targets(value, f"{key}[{i}]")
