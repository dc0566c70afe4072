"""A run directory is data: only classes that are known to be harmless are built from its configuration."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from shoal.aliases import canonical
from shoal.build.constructors import functions
from shoal.build.hydra_keys import TARGET
from shoal.build.named_constructor import constructor
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
    "shoal.models.populations.lotka_volterra",
    "torch.optim.swa_utils.SWALR",
)
"""A function of ours; and of Lightning only these: other callbacks and loggers write files where they are told, or talk
to servers."""


def refuse_strangers(config: Mapping[str, Any], trusted: Collection[str]) -> None:
    """Look at every `_target_` of a configuration before any of them is imported.

    Raises:
        UsageError: where one is neither of the framework, torch or Lightning, nor of a module named in `trusted`.
    """
    for key, path in _targets(config, ""):
        # Before the import: importing a module runs its code.
        if not _is_trusted(path, trusted) and not _is_known(path):
            raise _refusal(key, path)


def refuse_impostors(config: Mapping[str, Any], trusted: Collection[str]) -> None:
    """Look at what every `_target_` leads to, before any of them is called: a class defined in the module's package.

    The constructors tell which of the settings name something too: a class or a function.

    Raises:
        UsageError: where one is something else that the module merely imports.
    """
    for key, path in _targets(config, ""):
        if not _is_trusted(path, trusted) and not _is_own(path):
            raise _refusal(key, path)
    for key, path in _functions(config, ""):
        if not _is_trusted(path, trusted) and not (_is_known(path) and _is_own(path)):
            raise _refusal(key, path)


def _is_own(path: str) -> bool:
    """Whether it is a class of the package that its path begins with, or nothing at all: that is told later."""
    try:
        found = constructor(path).call
    except ValueError:
        return True
    # `torch.nn.os.system` leads through a module of torch's to what it merely imports.
    own = canonical(str(getattr(found, "__module__", ""))).split(".")[0] == canonical(path).split(".")[0]
    return own and (isinstance(found, type) or path in NAMED or _is_loss(path))


def _is_trusted(path: str, trusted: Collection[str]) -> bool:
    return any(path == name or path.startswith(f"{name}.") for name in trusted)


def _is_known(path: str) -> bool:
    path = canonical(path)
    module, _, name = path.rpartition(".")
    # Upper case: a class. Of functions nobody has looked at what each may do.
    return path in NAMED or (module in KNOWN and name[:1].isupper() and name.isidentifier()) or _is_loss(path)


def _is_loss(path: str) -> bool:
    """Whether it is one of torch's functions that are losses."""
    module, _, name = path.rpartition(".")
    return module == "torch.nn.functional" and name.isidentifier() and name.endswith(("_loss", "cross_entropy"))


def _refusal(key: str, path: str) -> UsageError:
    module = path.rpartition(".")[0] or path
    problem = "a run directory may only name classes of shoal, torch and Lightning"
    if canonical(path).split(".")[0] in ("pytorch_lightning", "torch", "shoal"):
        problem += " that write no files and talk to no server, which this one may"
    return UsageError(f"{key}={path}: {problem}", hint=f"if you trust this code, say so: --trust {module}")


def _targets(node: Any, key: str) -> Iterator[tuple[str, str]]:
    for place, each in _nodes(node, key):
        yield f"{place}.{TARGET}".lstrip("."), str(each[TARGET])


def _functions(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """The settings by which a node names a class or a function."""
    for place, each in _nodes(node, key):
        for name, path in functions(each):
            yield f"{place}.{name}".lstrip("."), path


def _nodes(node: Any, key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(node, Mapping):
        if TARGET in node:
            yield key, node
        for name, value in node.items():
            yield from _nodes(value, f"{key}.{name}".lstrip("."))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from _nodes(value, f"{key}[{i}]")
