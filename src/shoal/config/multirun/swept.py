"""How many values a swept setting has; one that gives none is refused before any sweeper goes through it."""

from __future__ import annotations

import math
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, RangeSweep
from omegaconf import DictConfig, OmegaConf

from shoal.config.hydra_config import typed
from shoal.config.origins import COMMAND_LINE
from shoal.errors import ConfigError, suggestion
from shoal.override_words import key_and_value

_MOST = 10_000_000
"""More values than these are a slip of the pen."""


def n_values(override: Override) -> int:
    """The values of a swept setting, those of a range without going through them."""
    value = override.value()
    if not isinstance(value, RangeSweep):
        return sum(1 for _ in override.sweep_string_iterator())
    # Hydra's range of floats is an object of its own without a length.
    found: Any = value.range()
    return len(found) if isinstance(found, range) else max(0, math.ceil((found.stop - found.start) / found.step))


def refuse_empty(config: DictConfig, loader: ConfigLoader) -> None:
    """See that each swept setting of a sweep gives a value at least, and is one that can differ.

    Raises:
        ConfigError: for the first that gives none.
    """
    arguments = typed(config.hydra)
    # An experiment's file may sweep as well: its values are looked at in the same way.
    params = OmegaConf.select(config, "hydra.sweeper.params") or {}
    lines = [*(f"{key}={value}" for key, value in params.items()), *arguments]
    parser = OverridesParser.create(config_loader=loader)
    for line in lines:
        override = parser.parse_overrides([line])[0]
        # A comma in a note would make two runs of it.
        if override.is_sweep_override() and override.key_or_group in ("tags", "note"):
            key, value = key_and_value(line)
            hint = f"'{key}=[{value}]'" if key == "tags" else f"in quotes of its own: '{key}=\"{value}\"'"
            raise ConfigError(key, value, "is of all runs together", hint=hint, source=COMMAND_LINE)
        if override.is_sweep_override() and not override.is_interval_sweep():
            _refuse_empty(override, loader, COMMAND_LINE if line in arguments else "hydra.sweeper.params")


def _refuse_empty(override: Override, loader: ConfigLoader, source: str) -> None:
    key = override.key_or_group
    value: Any = override.value()
    # A glob matches choices only: of a setting that is no group it gives none.
    options: list[str] = loader.get_group_options(key) if isinstance(value, Glob) else []
    hint: str | None = None
    if isinstance(value, RangeSweep) and not value.step:
        problem, hint = "has a step of 0 and would never end", f"for example {key}=range(0,10)"
    elif isinstance(value, Glob) and not options:
        problem, hint = f"matches the names of choices, and {key} has none", f"write its values: {key}=1,2,3"
    elif not (n := n_values(override)):
        problem = "gives no values: the sweep has 0 jobs"
        hint = suggestion("", options) if options else None
    elif n > _MOST:
        problem, hint = f"has {n:,} values", "a range is range(from,to,step)"
    else:
        return
    raise ConfigError(key, override.get_value_string(), problem, hint=hint, source=source)
