"""Which setting is the best by the mean over its seeds and folds, and which others may be: not which run was lucky."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from shoal.judging import Judgeable, Yardstick, measured, place
from shoal.judging import yardstick as yardstick_of
from shoal.names import IMMATERIAL, halved, repeated_over, repeats
from shoal.override_words import key_and_value
from shoal.review.significance import LEVEL, holm, paired
from shoal.review.spread import Spread, over
from shoal.review.wording import counted
from shoal.rundir.info import Status

Key = TypeVar("Key", bound=Hashable)
_INCIDENTAL = ("task", *IMMATERIAL)
"""Words of a command line that set nothing that is learned from."""


@runtime_checkable
class Distinguished(Protocol):
    """What sets a run apart, as its record has it."""

    @property
    def differs(self) -> Mapping[str, Any]:
        """In a sweep: in what it differs from its neighbors."""

    @property
    def overrides(self) -> Sequence[str]:
        """What its command line set."""


@runtime_checkable
class RankedRun(Judgeable, Distinguished, Protocol):
    """The fields of a run that a ranking reads."""

    @property
    def status(self) -> Status:
        """How it stands."""

    @property
    def seed(self) -> int:
        """Its seed."""

    @property
    def reason(self) -> str | None:
        """Why it did not go on."""


@dataclass(frozen=True, kw_only=True)
class RankedSetting(Generic[Key]):
    """Runs that differ in seed and fold only."""

    values: Mapping[str, Any]
    """What they have in common."""
    members: tuple[Key, ...]
    """All of them."""
    runs: tuple[Key, ...]
    """Those that were trained to the end and came to a number, the best first."""
    spread: Spread
    """Of what they came to; those that came to nan or diverged are left out."""
    halved: int
    """How many halving has stopped: they are as long as none of the others, and have no part in the mean."""
    repeated: Mapping[tuple[Any, ...], float]
    """What each seed and fold came to."""
    p: float | None = None
    """How likely such a difference from the first setting is by chance, corrected for the number of settings; None of
    the first, and of one with less than two seeds and folds in common with it."""

    @property
    def may_be_first(self) -> bool:
        """Whether it cannot be told apart from the first."""
        return self.p is None or self.p > LEVEL


@dataclass(frozen=True, kw_only=True)
class Ranking(Generic[Key]):
    """The settings of some runs, the best mean first.

    A setting with a run that diverged or came to nan stands after those without, one of which halving stopped a larger
    share after those of which it stopped a smaller one, and one without a run that was trained to the end last.
    """

    yardstick: Yardstick
    over: str
    """What the runs of a setting differ in: `seeds and folds`; empty where each has one run."""
    settings: tuple[RankedSetting[Key], ...]

    @property
    def first(self) -> Key | None:
        """The best run of the best setting."""
        return next((key for setting in self.settings for key in setting.runs), None)

    @property
    def order(self) -> list[Key]:
        """The runs, those of the best setting first."""
        return [key for setting in self.settings for key in setting.runs]

    @cached_property
    def verdict(self) -> str | None:
        """How many settings cannot be told apart from the first; None where there is nothing to say."""
        others = [setting for setting in self.settings[1:] if setting.spread.runs]
        if not others:
            return None
        if not self.over:
            return "one run of each setting: whether the first is better by more than chance, more seeds can tell"
        tested = [setting for setting in others if setting.p is not None]
        same = sum(setting.may_be_first for setting in tested)
        few, n_over = (
            len(others) - len(tested),
            sum(setting.halved > 0 and not setting.spread.of for setting in self.settings),
        )
        said = (
            f"{same} of {len(tested)} other settings cannot be told apart from the first "
            f"(paired t-test over {self.over}, Holm's correction, {LEVEL:.0%})"
        )
        lacking = (
            f"{counted(few, 'other setting')} with fewer than two {self.over} in common with the first cannot be tested"
        )
        stopped = f"of {counted(n_over, 'setting')} halving has stopped all runs"
        return "; ".join([*([said] if tested else []), *([lacking] if few else []), *([stopped] if n_over else [])])


def rank(
    runs: Iterable[tuple[Key, RankedRun, str]], yardstick: Yardstick | None = None, *, tested: bool = False
) -> Ranking[Key] | None:
    """The settings of the runs, each given with the family it belongs to: only in one can settings be the same.

    `tested` compares them with the first. None where no run has anything to be judged by.
    """
    every = list(runs)
    yardstick = yardstick or yardstick_of(run for _, run, _ in every)
    if yardstick is None:
        return None
    members: dict[str, list[tuple[Key, RankedRun, str]]] = {}
    for entry in every:
        # By all settings but seed and fold, and only within a family: another sweep may have had other defaults.
        members.setdefault(_cell(entry[1], entry[2]), []).append(entry)
    settings = [_setting(found, yardstick) for found in members.values()]
    settings.sort(key=lambda setting: _place(setting, yardstick.way))
    # One repeated setting makes it a comparison of means.
    several = any(setting.spread.of + setting.halved > 1 for setting in settings)
    names = dict.fromkeys(name for _, run, _ in every for name in distinguishing(run) if repeats(name))
    found = tuple(_compared(settings) if tested and several else settings)
    return Ranking(yardstick=yardstick, over=(repeated_over(names) or "seeds") if several else "", settings=found)


def _setting(members: Sequence[tuple[Key, RankedRun, str]], yardstick: Yardstick) -> RankedSetting[Key]:
    metric, way = yardstick.metric, yardstick.way
    whole = [(key, run) for key, run, _ in members if run.status is Status.COMPLETED and not halved(run.reason)]
    values = {key: measured(run, metric) for key, run in whole}
    known = {key: value for key, value in values.items() if value is not None and math.isfinite(value)}
    diverged = sum(run.status is Status.DIVERGED for _, run, _ in members)
    return RankedSetting(
        values={name: value for name, value in distinguishing(members[0][1]).items() if not repeats(name)},
        members=tuple(key for key, _, _ in members),
        runs=tuple(sorted(known, key=lambda key: place(known[key], way))),
        # A run that diverged counts among those there are, and not in the mean.
        spread=over([*(value for value in values.values() if value is not None), *[None] * diverged]),
        halved=sum(halved(run.reason) for _, run, _ in members),
        repeated={_repeat(run): known[key] for key, run in whole if key in known},
    )


def _place(setting: RankedSetting[Any], way: str) -> tuple[Any, ...]:
    spread = setting.spread
    # Halving has compared all runs: of a setting that it stopped more of, those that are left are the lucky ones.
    stopped = setting.halved / max(1, setting.halved + spread.of)
    return spread.runs == 0, spread.runs < spread.of, stopped, place(spread.mean, way)


def _compared(settings: Sequence[RankedSetting[Key]]) -> list[RankedSetting[Key]]:
    """The settings with how likely their difference from the first is by chance."""
    first, *others = settings
    # Of twenty settings one would differ by chance at one in twenty.
    values = holm([_chance(first, other) for other in others])
    return [first, *(replace(other, p=p) for other, p in zip(others, values, strict=True))]


def _chance(first: RankedSetting[Any], other: RankedSetting[Any]) -> float | None:
    # In pairs: a seed that is hard is so for both.
    shared = [repeat for repeat in first.repeated if repeat in other.repeated]
    # Folds of a cross-validation share their training samples, which the test must know of.
    folds = {repeat[1:] for repeat in shared}
    return paired([other.repeated[each] - first.repeated[each] for each in shared], folds=len(folds))


def _cell(run: RankedRun, family: str) -> str:
    return repr((family, run.task, [(name, value) for name, value in distinguishing(run).items() if not repeats(name)]))


def _repeat(run: RankedRun) -> tuple[Any, ...]:
    """The key of a repetition: its seeds, then its folds."""
    found = {"seed": str(run.seed)} | {name: str(value) for name, value in distinguishing(run).items() if repeats(name)}
    folds = [pair for pair in found.items() if pair[0].rpartition(".")[2] == "fold"]
    return (tuple(pair for pair in found.items() if pair not in folds), *folds)


def distinguishing(run: Distinguished) -> Mapping[str, Any]:
    """What sets a run apart: in a sweep what differs from its neighbors, alone what its command line set."""
    if run.differs:
        return run.differs
    said = dict(map(key_and_value, run.overrides))
    return {key: value for key, value in said.items() if key not in _INCIDENTAL and not key.startswith("hydra")}
