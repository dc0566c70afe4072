"""Which jobs a command line asks for: Hydra's grid, values in step, combinations in a list, and random samples."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override

from shoal.config.compose import of_sweep
from shoal.config.multirun.ranges import Interval, distribution
from shoal.config.multirun.swept import n_values
from shoal.errors import ConfigError, UsageError, suggestion

Cell = tuple[str, ...]
"""Overrides that a job takes together."""
IsInteger = Callable[[str], bool]


@dataclass(frozen=True, kw_only=True)
class GridSettings:
    """How values become jobs. The file conf/train.yaml has the defaults."""

    zip: list[Any] | None
    """Settings whose values are paired: `[optimizer.lr,seed]`, or several such lists."""
    jobs: list[dict[str, Any]] | None
    """Combinations, one by one: `[{optimizer.lr:0.1,seed:1},{optimizer.lr:0.01,seed:2}]`."""
    n_samples: Annotated[int, Ge(1)] | None
    """Draw so many samples at random instead of taking every combination."""
    seed: int
    """Seed of the samples; more of them begin with the same ones."""
    every: list[str]
    """Settings that are not drawn: each sample is trained with all of their values."""
    max_jobs: Annotated[int, Ge(1)]
    """Jobs that are begun without asking."""


def expanded(
    overrides: Sequence[str], options: GridSettings, loader: ConfigLoader, is_integer: IsInteger
) -> list[list[str]]:
    """The overrides of each job, in Hydra's order: the last setting changes fastest.

    `is_integer` tells of a setting whether it is one.

    Raises:
        ConfigError, UsageError: where the options do not fit the overrides, or there are too many jobs.
    """
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
    # How the sweep is run is no part of a job, nor of its record.
    parsed = [each for each in parsed if not of_sweep(each.key_or_group)]
    # The last override of a key counts, in the place of the first; Hydra's grid would combine the two.
    by_key = {each.get_key_element(): each for each in parsed}
    axes = _random_axes(by_key, options, is_integer) if options.n_samples is not None else _axes(by_key, options)
    # Last: the combinations vary fastest, within each of the other settings' values.
    if options.jobs:
        axes.append([_cell(job) for job in options.jobs])
    # Counted, before a single combination is made: a slip of the pen may ask for billions.
    n = math.prod(len(axis) for axis in axes)
    if n > options.max_jobs:
        raise _too_many(n, axes, options)
    return [list(itertools.chain.from_iterable(cells)) for cells in itertools.product(*axes)]


def _axes(overrides: Mapping[str, Override], options: GridSettings) -> list[Sequence[Cell]]:
    for override in overrides.values():
        if isinstance(override.value(), IntervalSweep):
            key, value = override.key_or_group, override.get_value_string()
            raise ConfigError(key, value, "is a distribution", hint="say how many samples: sweep.n_samples=20")
    axes: list[Sequence[Cell]] = []
    paired = _paired(overrides, options)
    for key, override in overrides.items():
        group = next((group for group in paired if key in group), None)
        if group is None:
            axes.append(OverrideValues(key, override))
        # The whole group stands where its first setting does.
        elif key == group[0]:
            axes.append(_in_step([OverrideValues(name, overrides[name]) for name in group], group))
    return axes


class OverrideValues(Sequence[Cell]):
    """The values of one override; those of a range are not written down before they are asked for."""

    def __init__(self, key: str, override: Override) -> None:
        self.key = key
        self.override = override

    def __len__(self) -> int:
        return n_values(self.override) if self.override.is_sweep_override() else 1

    def __iter__(self) -> Iterator[Cell]:
        if not self.override.is_sweep_override():
            value = self.override.get_value_element_as_str()
            # `~key` deletes whatever value the key has; `~key=value` only that one.
            bare = self.override.is_delete() and "=" not in (self.override.input_line or "")
            return iter([(self.key if bare else f"{self.key}={value}",)])
        return iter([(f"{self.key}={value}",) for value in self.override.sweep_string_iterator()])

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]


def _paired(overrides: Mapping[str, Override], options: GridSettings) -> list[list[str]]:
    zipped = options.zip or []
    groups = [zipped] if zipped and isinstance(zipped[0], str) else [list(group) for group in zipped]
    swept = [key for key, override in overrides.items() if override.is_sweep_override()]
    for key in itertools.chain.from_iterable(groups):
        if key not in swept:
            raise ConfigError(
                "sweep.zip", options.zip, f"{key} has no values", hint=suggestion(key, swept, kind="swept")
            )
    # In the order of the command line, so that `elif key == group[0]` above meets the group where it begins.
    return [sorted(group, key=swept.index) for group in groups]


def _in_step(values: Sequence[Sequence[Cell]], keys: Sequence[str]) -> Sequence[Cell]:
    lengths = {key: len(each) for key, each in zip(keys, values, strict=True)}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{key} {n}" for key, n in lengths.items())
        raise ConfigError("sweep.zip", list(keys), f"needs as many values of each setting; there are: {counts}")
    return [tuple(itertools.chain.from_iterable(cells)) for cells in zip(*values, strict=True)]


def _random_axes(
    overrides: Mapping[str, Override], options: GridSettings, is_integer: IsInteger
) -> list[Sequence[Cell]]:
    n = options.n_samples or 0
    drawn = {k: o for k, o in overrides.items() if o.is_sweep_override() and k not in options.every}
    if not drawn:
        hint = "for example 'optimizer.lr=tag(log,interval(1e-4,1e-1))' or optimizer=adam,sgd"
        raise ConfigError("sweep.n_samples", n, "but there is nothing to draw from", hint=hint)
    # Each sample by its own number: raising n_samples adds samples, and changes none.
    samples = [
        tuple(f"{key}={_drawn(each, options.seed, i, is_integer)}" for key, each in drawn.items()) for i in range(n)
    ]
    others = [OverrideValues(key, override) for key, override in overrides.items() if key not in drawn]
    # A setting with one value goes first: what is drawn may be a part of it, as one start of `model.start`.
    fixed, every = ([each for each in others if (len(each) == 1) == one] for one in (True, False))
    return [*fixed, samples, *every]


def _drawn(override: Override, seed: int, i: int, is_integer: IsInteger) -> str:
    """A value at random: that of sample `i`, whatever else is drawn."""
    # A text as seed: Python hashes it by SHA-512, the same in every process.
    source = random.Random(f"{seed}:{override.get_key_element()}:{i}")
    if not isinstance(override.value(), IntervalSweep):
        return source.choice(list(override.sweep_string_iterator()))
    found = distribution(override, is_integer)
    assert isinstance(found, Interval)
    return found.drawn(source)


def _cell(job: Mapping[str, Any]) -> Cell:
    # Written as Hydra writes values, in quotes where its grammar needs them; there is no public function for it.
    return tuple(f"{key}={Override._get_value_element_as_str(value)}" for key, value in job.items())


def _too_many(n: int, axes: Sequence[Sequence[Cell]], options: GridSettings) -> UsageError:
    counts = " x ".join(
        f"{axis.key} {len(axis)}" for axis in axes if isinstance(axis, OverrideValues) and len(axis) > 1
    )
    return UsageError(
        f"the sweep has {n:,} jobs{f' ({counts})' if counts else ''}, more than sweep.max_jobs={options.max_jobs}",
        hint=f"if you mean it: sweep.max_jobs={n}; to draw some of them at random: sweep.n_samples=200",
    )
