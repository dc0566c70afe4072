"""Which of Optuna's samplers proposes the trials of a study; by its name, or as a node of one's own."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from shoal.build.constructors import build, target
from shoal.build.hydra_keys import TARGET
from shoal.errors import ConfigError, suggestion

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

KEY = "sweep.sampler"
NAMES = {
    "tpe": "TPESampler",
    "gp": "GPSampler",
    "cmaes": "CmaEsSampler",
    "nsga2": "NSGAIISampler",
    "nsga3": "NSGAIIISampler",
    "qmc": "QMCSampler",
    "random": "RandomSampler",
}
NEEDED = {"cmaes": "cmaes", "gp": "scipy", "qmc": "scipy"}
"""Packages that Optuna itself does without."""
DESIGNS = ("QMCSampler", "GridSampler")
"""Samplers that go through one sequence, which their seed decides."""

Samplers = Callable[[int], "BaseSampler"]
"""The sampler for a trial, by how many were asked for before."""


def samplers(node: str | Mapping[str, Any], *, seed: int, batch: int) -> Samplers:
    """The sampler of each trial.

    Its chance depends on the seed and the trial's place only: a study that is begun again proposes what it would have.

    Raises:
        ConfigError: where there is no such sampler, its settings are wrong, or it needs a package.
    """
    settings = _settings(node, batch) if isinstance(node, str) else dict(node)
    made = target(settings, KEY)
    if "seed" not in made.parameters:
        return _always(_built(settings))
    first = settings.get("seed", seed)
    if getattr(made.call, "__name__", "") in DESIGNS:
        return _always(_built({**settings, "seed": first}))
    _built({**settings, "seed": first})  # what is wrong is told now
    return lambda number: _built({**settings, "seed": random.Random(f"{first}:{number}").getrandbits(32)})


def sampler_name(node: str | Mapping[str, Any]) -> str:
    """What to call it."""
    return node if isinstance(node, str) else str(node.get(TARGET)).rpartition(".")[2]


def _settings(name: str, batch: int) -> dict[str, Any]:
    if name == "grid":
        hint = "leave out hydra/sweeper=optuna: every combination is what a sweep does otherwise"
        raise ConfigError(KEY, name, "is no search", hint=hint)
    if name not in NAMES:
        raise ConfigError(KEY, name, "no such sampler", hint=suggestion(name, NAMES))
    package = NEEDED.get(name)
    if package and importlib.util.find_spec(package) is None:
        raise ConfigError(KEY, name, f"needs the package {package}", hint=f"pip install {package}")
    more: dict[str, Any] = {}
    if name == "cmaes":  # a batch larger than a generation would be asked for in vain
        more = {"warn_independent_sampling": False} | ({"popsize": batch} if batch > 5 else {})
    return {TARGET: f"optuna.samplers.{NAMES[name]}", **more}


def _built(settings: Mapping[str, Any]) -> BaseSampler:
    from optuna.samplers import BaseSampler

    found = build(settings, KEY)
    if not isinstance(found, BaseSampler):
        raise ConfigError(f"{KEY}.{TARGET}", settings[TARGET], "is not one of Optuna's samplers")
    return found


def _always(sampler: BaseSampler) -> Samplers:
    return lambda number: sampler
