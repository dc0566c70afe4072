"""What a swept setting can be drawn from: the one reading of choices, ranges and intervals for every kind of search."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig, OmegaConf

from shoal.build.annotations import NotAllowedError, coerced
from shoal.build.hydra_keys import TARGET
from shoal.build.named_constructor import constructor
from shoal.errors import ConfigError


@dataclass(frozen=True)
class Choices:
    """One of several values, as they are written in an override."""

    values: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join(self.values)


@dataclass(frozen=True)
class Range:
    """One of a range's numbers, which rise by the same step."""

    values: tuple[int | float, ...]
    step: int | float = 1
    """From one number to the next."""
    log: bool = False

    def __str__(self) -> str:
        step = f" in steps of {self.step}" if len(self.values) > 1 and self.step != 1 else ""
        return f"{self.values[0]} to {self.values[-1]}{step}{', log' if self.log else ''}"


@dataclass(frozen=True)
class Interval:
    """A number between two others."""

    low: float
    high: float
    log: bool = False
    """Whether its logarithm is drawn evenly, and not the number itself."""
    whole: bool = False
    """Whether it is an integer; the ends are then among them."""

    def __str__(self) -> str:
        kind = "integers from " if self.whole else ""
        return f"{kind}{self.low:g} to {self.high:g}{', log' if self.log else ''}"

    def drawn(self, source: random.Random) -> str:
        """A number at random, as it is written in an override."""
        if self.whole and not self.log:
            return str(source.randint(int(self.low), int(self.high)))
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        found = source.uniform(low, high)
        # exp(log(x)) may be the next number beyond an end, which is not allowed.
        found = min(max(math.exp(found), self.low), self.high) if self.log else found
        return str(round(found)) if self.whole else repr(self._short(found))

    def _short(self, found: float) -> float:
        """The number to a millionth of the interval, or of itself: as long as anybody wants to read and type again."""
        size = min(abs(found), self.high - self.low) if self.log else self.high - self.low
        # Six digits after the first of `size`.
        short = round(found, 6 - math.floor(math.log10(size)))
        return short if self.low <= short <= self.high else found


Distribution = Choices | Range | Interval


def distribution(override: Override, is_integer: Callable[[str], bool] = lambda key: False) -> Distribution:
    """What a swept override says can be drawn; `is_integer` tells of a setting whether it is one.

    Raises:
        ConfigError: where an interval is empty, endless, or reaches what has no logarithm, or there are no values.
    """
    value = override.value()
    match value:
        case IntervalSweep():
            return _interval(override, value, is_integer)
        case RangeSweep():
            # Sorted: a range may go down, and a sampler needs its ends.
            numbers = tuple(sorted(value.range()))
            if numbers and ("log" not in value.tags or numbers[0] > 0):
                return Range(tuple(map(_plain, numbers)), abs(_plain(value.step)), "log" in value.tags)
            problem = "begins at 0 or below, which has no logarithm" if numbers else "gives no values"
            raise ConfigError(override.key_or_group, override.get_value_string(), problem)
    # Without repeats, of which Optuna's categories may have none.
    found = tuple(dict.fromkeys(override.sweep_string_iterator()))
    if not found:
        raise ConfigError(override.key_or_group, override.get_value_string(), "gives no values")
    return Choices(found)


def integers_of(config: DictConfig) -> Callable[[str], bool]:
    """Which settings are integers in this configuration."""

    def is_integer(key: str) -> bool:
        # A reference that leads nowhere is told where the jobs are composed.
        value = OmegaConf.select(config, key, throw_on_resolution_failure=False)
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole and not _takes_fractions(config, key, value)

    return is_integer


def _takes_fractions(config: DictConfig, key: str, value: int) -> bool:
    """Whether the constructor takes a fraction here too, though 500 is what is written; unannotated it is unknown."""
    outer, _, name = key.rpartition(".")
    path = _target(config, outer)
    given: list[Any] = [value + 0.5, value - 0.5]
    if path is None:  # within a setting that has numbers by their names, as the starts of a formula
        outer, _, setting = outer.rpartition(".")
        path, given, name = _target(config, outer), [{name: each} for each in given], setting
    try:
        hint = constructor(path).hints.get(name) if path else None
    except ValueError:  # what is wrong with it is told where the jobs are checked
        return False
    # The last condition: what takes any value at all, as `Any`, says nothing of fractions.
    return hint is not None and any(_allowed(each, hint) for each in given) and not _allowed("no number", hint)


def _target(config: DictConfig, node: str) -> str | None:
    """The constructor of a node that has one."""
    return OmegaConf.select(config, f"{node}.{TARGET}") if node else None


def _allowed(value: Any, hint: Any) -> bool:
    try:
        coerced(value, hint)
    except NotAllowedError:
        return False
    return True


def _interval(override: Override, value: IntervalSweep, is_integer: Callable[[str], bool]) -> Interval:
    low, high, log = value.start, value.end, "log" in value.tags
    assert low is not None
    assert high is not None
    if not low < high or not math.isfinite(high - low) or (log and low <= 0):
        allowed = "0 < a < b" if log else "a < b"
        raise ConfigError(override.key_or_group, override.get_value_string(), f"interval(a,b) needs {allowed}")
    cast = isinstance(low, int) and isinstance(high, int)  # by the user's int(...): Hydra's interval has floats
    ends = float(low).is_integer() and float(high).is_integer()
    return Interval(low, high, log, cast or (ends and is_integer(override.key_or_group)))


def _plain(number: object) -> int | float:
    return number if isinstance(number, int) else float(str(number))
