"""What an experiment expects of its run: read and checked before it trains, compared after it has."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt

from shoal.build.constructors import checked
from shoal.build.named_constructor import constructor
from shoal.errors import ConfigError, suggestion
from shoal.names import STEP
from shoal.rundir import History, RunDir, RunInfo, read_history, write_info

COUNTS = ("parameters", "trainable", "epochs", "steps")
"""What run.json says of a run beside its metrics, and an experiment may expect too."""
EXACT = 1e-9
"""Relative tolerance of a whole number."""
STATISTICS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "mean": statistics.fmean,
    "std": lambda values: statistics.stdev(values) if len(values) > 1 else 0.0,
    "median": statistics.median,
    "min": min,
    "max": max,
}


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """A metric, where in the history to look for it, and what it should be there."""

    metric: str
    """Column of metrics.csv, or parameters, trainable, epochs, steps."""
    at: Literal["final", "best"] = "final"
    """In the last row that has it, or when the monitored metric was best; unless `step` or `epoch` is set."""
    step: Annotated[int, Ge(0)] | None = None
    """Optimizer steps done, as metrics.csv counts them."""
    epoch: Annotated[int, Ge(0)] | None = None
    """Epoch, as metrics.csv counts them: from 0."""
    value: int | float | str | None = None
    """What it should be; in quotes where the last digit is a zero: the digits written are the tolerance."""
    within: Annotated[float, Ge(0)] | None = None
    """Difference allowed; half a unit of the last digit written where null."""
    relative: Annotated[float, Gt(0)] | None = None
    """The same as a share of the value."""
    below: float | None = None
    above: float | None = None
    log10: bool = False
    """Whether the numbers are decimal logarithms."""
    over: Literal["mean", "std", "median", "min", "max"] | None = None
    """In a sweep: this of all its runs, instead of each of them."""
    where: Mapping[str, Any] | None = None
    """In a sweep: only of runs with these settings."""

    def __post_init__(self) -> None:
        if (self.value, self.below, self.above) == (None, None, None):
            raise ConfigError("value", None, "must be given, or below, or above", hint="for example value: 3.0291")
        if self.value is None and (self.within or self.relative) is not None:
            raise ConfigError("value", None, "must be given beside a tolerance")
        if self.within is not None and self.relative is not None:
            raise ConfigError("relative", self.relative, "is a second tolerance beside within", hint="drop one of them")
        if self.step is not None and self.epoch is not None:
            raise ConfigError("epoch", self.epoch, "is a second place beside step", hint="drop one of them")
        if isinstance(self.value, str):
            _number(self.value)

    @property
    def name(self) -> str:
        """`x at step 51`, `log10 train/loss`, `mean of train/loss where optimizer=sgd`."""
        words = f"log10 {self.metric}" if self.log10 else self.metric
        if self.over:
            words = f"{self.over} of {words}"
        if self.step is not None:
            words += f" at step {self.step}"
        elif self.epoch is not None:
            words += f" at epoch {self.epoch}"
        elif self.at == "best":
            words += " at best"
        settings = ", ".join(f"{key}={value}" for key, value in (self.where or {}).items())
        return f"{words} where {settings}" if settings else words

    @property
    def tolerance(self) -> float:
        """Difference from `value` that is allowed."""
        value = _number(self.value or 0)
        if self.within is not None:
            return self.within
        if self.relative is not None:
            return self.relative * abs(value)
        if isinstance(self.value, int):
            return EXACT * abs(value)
        # As it is written: 3.0290 in quotes keeps its zero, and with it a tenth of the tolerance.
        exponent = Decimal(str(self.value)).as_tuple().exponent
        # A little more than half, which as a float may be rounded down.
        return 0.5 * 10.0 ** int(exponent) * (1 + EXACT)

    @property
    def wanted(self) -> str:
        """`3.0291 +- 5e-05`, `below 0.001`."""
        exact = isinstance(self.value, int) and self.within is None and self.relative is None
        parts = [] if self.value is None else [f"{self.value}" if exact else f"{self.value} +- {self.tolerance:.2g}"]
        parts += [f"below {self.below:g}"] if self.below is not None else []
        parts += [f"above {self.above:g}"] if self.above is not None else []
        return ", ".join(parts)

    def holds(self, measured: float) -> bool:
        """Whether a number is what is expected."""
        if not math.isfinite(measured):
            return False
        near = self.value is None or abs(measured - _number(self.value)) <= self.tolerance
        low = self.above is None or measured > self.above
        return near and low and (self.below is None or measured < self.below)

    def measured(self, info: RunInfo, history: History) -> float | None:
        """The number in a run; None where there is none."""
        found = self._found(info, history)
        if found is None or not self.log10:
            return found
        return math.log10(found) if found > 0 else math.nan

    def applies(self, info: RunInfo) -> bool:
        """Whether it is about this run of a sweep."""
        here = {**info.choices, **info.differs}
        # As texts: a choice is a name, and a number may be written as 1e-3.
        return all(str(here.get(key)) == str(value) for key, value in (self.where or {}).items())

    def _found(self, info: RunInfo, history: History) -> float | None:
        rows = [row for row in history.rows if self.metric in row]
        if self.step is not None or self.epoch is not None:
            key, number = ("step", self.step) if self.step is not None else ("epoch", self.epoch)
            # The last of an epoch: there may be rows of single steps before it.
            return next((row[self.metric] for row in reversed(rows) if row[key] == number), None)
        if self.at == "best" and info.best:
            best = info.best
            if best.metric == self.metric:
                return best.value
            # Of another metric that which it had when the monitored one was best.
            return next((row[self.metric] for row in rows if row[STEP] == best.step), None)
        if self.metric in COUNTS:
            return float(getattr(info, self.metric))
        return info.final.get(self.metric)


@dataclass(frozen=True)
class Comparison:
    """What was expected beside what was measured."""

    name: str
    expected: str
    measured: float | None
    holds: bool
    problem: str | None = None
    """Why nothing was measured."""

    def plain(self) -> dict[str, Any]:
        """As run.json has it."""
        found = {"metric": self.name, "expected": self.expected, "measured": self.measured, "holds": self.holds}
        return found | ({"problem": self.problem} if self.problem else {})


def expectations(node: Any, key: str = "expect") -> tuple[Expectation, ...]:
    """The expectations that a configuration lists.

    Raises:
        ConfigError: where one of them is not of this form.
    """
    if node is None:
        return ()
    if not isinstance(node, list | tuple):
        raise ConfigError(key, node, "must be a list", hint="for example expect=[{metric:val/loss,below:1e-3}]")
    return tuple(_expectation(each, f"{key}[{i}]") for i, each in enumerate(node))


def refuse_unknown(wanted: Sequence[Expectation], names: Iterable[str], n_steps: int | None = None) -> None:
    """Refuse expectations of what will not be there.

    Raises:
        ConfigError: for the first metric that is never logged, or step that is never reached.
    """
    known = sorted({*names, *COUNTS})
    for i, each in enumerate(wanted):
        if each.metric not in known:
            hint = suggestion(each.metric, known, kind="logged are")
            raise ConfigError(f"expect[{i}].metric", each.metric, "is never logged", hint=hint)
        if each.step is not None and n_steps is not None and each.step > n_steps:
            problem = f"is never reached: the training has {n_steps} steps"
            hint = "train on until then, or expect nothing: expect=null"
            raise ConfigError(f"expect[{i}].step", each.step, problem, hint=hint)


def compared(wanted: Sequence[Expectation], info: RunInfo, history: History) -> list[Comparison]:
    """Each expectation of a single run beside what was measured; those over the runs of a sweep are left out."""
    return [
        _outcome(each, each.measured(info, history), history)
        for each in wanted
        if each.over is None and each.applies(info)
    ]


def compare(run: RunDir, info: RunInfo, config: Mapping[str, Any]) -> RunInfo:
    """Compare what the configuration expects with what the run has measured, and note both in run.json."""
    wanted = expectations(config.get("expect"))
    if not wanted:
        return info
    found = compared(wanted, info, read_history(run.history))
    info = replace(info, expected=[each.plain() for each in found])
    write_info(run.info, info)
    return info


def compared_over(wanted: Sequence[Expectation], runs: Sequence[tuple[RunInfo, History]]) -> list[Comparison]:
    """Each expectation over the runs of a sweep beside what was measured."""
    outcomes = []
    for each in wanted:
        if each.over is None:
            continue
        found = [each.measured(info, history) for info, history in runs if each.applies(info)]
        values = [value for value in found if value is not None]
        # A mean over those that have a number would hide those that have none.
        if not values or len(values) < len(found):
            problem = f"{len(found) - len(values)} of {len(found)} runs have no such number"
            outcomes.append(Comparison(each.name, each.wanted, None, False, problem))
        else:
            outcomes.append(_outcome(each, _statistic(each.over, values), runs[0][1]))
    return outcomes


def _statistic(name: str, values: Sequence[float]) -> float:
    """A statistic of the values; nan if one is not finite: Python's own functions would give some number then."""
    return STATISTICS[name](values) if all(map(math.isfinite, values)) else math.nan


def table(outcomes: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each: name, expected, measured, holds."""
    if not outcomes:
        return []
    rows = [("expected", "", "measured", "")]
    for each in outcomes:
        number = each["measured"]
        measured = each.get("problem") or "nothing" if number is None else f"{number:.8g}"
        rows.append((each["metric"], each["expected"], measured, "holds" if each["holds"] else "MISSED"))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _expectation(node: Any, key: str) -> Expectation:
    if not isinstance(node, Mapping):
        raise ConfigError(key, node, "must name a metric and its value", hint="{metric: val/loss, below: 1e-3}")
    settings = checked(node, key, constructor(f"{__name__}.Expectation"))
    try:
        return Expectation(**settings)
    except ConfigError as error:
        raise error.at(key=f"{key}.{error.key}") from None


def _outcome(expectation: Expectation, measured: float | None, history: History) -> Comparison:
    problem = None
    if measured is None:
        rows = [row for row in history.rows if expectation.metric in row]
        last = f"; its last row is step {rows[-1][STEP]:.0f}" if rows else ""
        problem = f"not in the history{last}"
    holds = measured is not None and expectation.holds(measured)
    return Comparison(expectation.name, expectation.wanted, measured, holds, problem)


def _number(value: float | str) -> float:
    try:
        number = float(Decimal(str(value)))
    except InvalidOperation:
        raise ConfigError("value", value, "must be a number", hint="for example value: 3.0291") from None
    if not math.isfinite(number):
        raise ConfigError("value", value, "must be a finite number")
    return number
