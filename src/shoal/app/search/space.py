"""The space that a study searches, read from the overrides of a sweep; and the jobs of a point in it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override

from shoal.config.compose import of_sweep
from shoal.config.multirun.grids import Cell, OverrideValues
from shoal.config.multirun.ranges import Choices, Distribution, Range, distribution
from shoal.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Point = Mapping[str, Any]
"""A value for each setting that is searched, by its name."""
EXAMPLE = "for example 'optimizer.lr=tag(log,interval(1e-4,1e-1))' or optimizer=adam,sgd"


@dataclass(frozen=True)
class Space:
    """What is searched, and what all jobs have in common."""

    searched: Mapping[str, Distribution]
    """By the key of the override, which may begin with a `+`."""
    repeats: Sequence[Cell]
    """The other overrides of each run of a trial: one run, or one for each seed."""

    @property
    def varies(self) -> list[str]:
        """The names of the settings that are searched."""
        return [named(key) for key in self.searched]

    @property
    def words(self) -> list[str]:
        """Those of them that are no numbers."""
        return [named(key) for key, each in self.searched.items() if isinstance(each, Choices)]

    def in_words(self) -> dict[str, str]:
        """What each setting is searched in, in words."""
        return {named(key): str(each) for key, each in self.searched.items()}

    def optuna(self) -> dict[str, BaseDistribution]:
        """The space in Optuna's distributions."""
        return {named(key): _optuna(key, each) for key, each in self.searched.items()}

    def jobs(self, point: Point) -> list[list[str]]:
        """The overrides of the runs of one trial."""
        chosen = [f"{key}={_written(each, point[named(key)])}" for key, each in self.searched.items()]
        return [[*chosen, *cells] for cells in self.repeats]

    def edges(self) -> list[list[str]]:
        """Jobs that try every choice, and both ends of every interval, with the first of all the others."""
        ends = {key: _ends(each) for key, each in self.searched.items()}
        first = {key: words[0] for key, words in ends.items()}
        points = [first, *({**first, key: word} for key, words in ends.items() for word in words[1:])]
        jobs = [[*(f"{key}={word}" for key, word in point.items()), *self.repeats[0]] for point in points]
        return [*jobs, *([*jobs[0][: len(first)], *cells] for cells in self.repeats[1:])]


def space_of(
    overrides: Sequence[str], every: Sequence[str], loader: ConfigLoader, is_integer: Callable[[str], bool]
) -> Space:
    """What the overrides of a sweep search; those in `every` are not searched: each trial has all of their values.

    Raises:
        ConfigError, UsageError: where nothing is searched, or something cannot be.
    """
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
    by_key = {each.get_key_element(): each for each in parsed if not of_sweep(each.key_or_group)}
    searched = {key: each for key, each in by_key.items() if each.is_sweep_override() and named(key) not in every}
    if not searched:
        raise UsageError("a study needs a setting to search", hint=EXAMPLE)
    others = [OverrideValues(key, _listed(each)) for key, each in by_key.items() if key not in searched]
    repeats = [tuple(itertools.chain.from_iterable(cells)) for cells in itertools.product(*others)]
    return Space({key: distribution(each, is_integer) for key, each in searched.items()}, repeats)


def named(key: str) -> str:
    """The name of the setting that an override's key sets."""
    return key.lstrip("+")


def _listed(override: Override) -> Override:
    if isinstance(override.value(), IntervalSweep):
        problem = "has all of its values in every trial (sweep.every), and an interval cannot list them"
        raise ConfigError(override.key_or_group, override.get_value_string(), problem, hint="for example range(3)")
    return override


def _optuna(key: str, found: Distribution) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    match found:
        case Choices(values):
            return CategoricalDistribution(values)
        case Range(values, step, log):
            low, high = values[0], values[-1]
            # On a logarithmic scale Optuna knows no steps but those of 1.
            if isinstance(low, int) and isinstance(high, int) and isinstance(step, int) and (step == 1 or not log):
                return IntDistribution(low, high, log=log, step=step)
            if log:
                raise ConfigError(key, str(found), "a range on a log scale must be of integers in steps of 1")
            return FloatDistribution(low, high, step=step)
    if found.whole:
        return IntDistribution(int(found.low), int(found.high), log=found.log)
    return FloatDistribution(found.low, found.high, log=found.log)


def _written(found: Distribution, value: Any) -> str:
    """A value as an override has it; of a range exactly the number that Hydra's grid would have."""
    match found:
        case Choices():
            return str(value)
        case Range(values, step):
            return str(values[round((value - values[0]) / step)])
    return str(int(value)) if found.whole else repr(float(value))


def _ends(found: Distribution) -> Sequence[str]:
    match found:
        case Choices(values):
            return values
        case Range(values):
            return [str(value) for value in dict.fromkeys((values[0], values[-1]))]
    return [_written(found, found.low), _written(found, found.high)]
