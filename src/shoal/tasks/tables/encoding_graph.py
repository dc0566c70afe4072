"""What `encoding` and `restored` do with new rows, as graphs of tensors alone: for programs that know no tables.

A column is a tensor with a row each: a number as it is, a category by its code, a date as whole seconds since 1970. A
row with a value that `shoal predict` refuses (a missing one, an unseen category, an infinite number) becomes nan.
"""

from __future__ import annotations

import calendar
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from shoal.tasks.tables.encoding import Encoding
from shoal.tasks.tables.format import Format
from shoal.tasks.tables.kinds import CASES, Category, Date, restored

UNKNOWN = -1
"""The code of a category that training never saw."""
NO_DATE = -(2**63)
"""What stands for a missing date: NumPy's NaT as a whole number."""
_DAY = 24 * 60 * 60
_CYCLE = 146_097
"""Days in 400 years, after which the calendar repeats."""
_EPOCH = 719_468
"""Days from March 1st of the year 0 to January 1st of 1970."""


class Numbers(nn.Module):
    """Columns of numbers: filled in and standardised."""

    mean: Tensor
    scale: Tensor
    fill: Tensor
    marks: Tensor

    def __init__(self, columns: Sequence[Mapping[str, Any]], marks: Sequence[float] = ()) -> None:
        super().__init__()
        fills = [math.nan if column.get("fill") is None else column["fill"] for column in columns]
        for name, values in (("mean", _of(columns, "mean")), ("scale", _of(columns, "scale")), ("fill", fills)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float64))
        # nan is missing anyway, and equals nothing.
        known = [mark for mark in marks if not math.isnan(mark)]
        self.register_buffer("marks", torch.tensor(known, dtype=torch.float64))

    def forward(self, values: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
        """The inputs of the model that the columns are."""
        values = values.to(torch.float64)
        missing = values.isnan()
        if len(self.marks):
            missing = missing | (values[..., None] == self.marks).any(-1)
        values = torch.where(missing, self.fill, values)
        # After filling in: an infinite number is a mistake and not a missing one.
        return (torch.where(values.isinf(), torch.nan, values) - self.mean) / self.scale


class Codes(nn.Module):
    """A column of categories: one-hot."""

    table: Tensor

    def __init__(self, column: Mapping[str, Any]) -> None:
        super().__init__()
        n = len(column["categories"])
        # The last row is what an unseen code looks up.
        rows = torch.cat([torch.eye(n, dtype=torch.float64), torch.full((1, n), torch.nan, dtype=torch.float64)])
        self.register_buffer("table", rows)

    def forward(self, codes: Int[Tensor, " rows"]) -> Float[Tensor, "rows categories"]:
        """The inputs of the model that the column is."""
        n = len(self.table) - 1
        known = (codes >= 0) & (codes < n)
        return nn.functional.embedding(torch.where(known, codes, n), self.table)


class Dates(nn.Module):
    """A column of dates: the year with its fraction, standardised, and month, weekday and hour as circles."""

    mean: Tensor
    scale: Tensor
    turn: Tensor

    def __init__(self, column: Mapping[str, Any]) -> None:
        super().__init__()
        self.hours = column["hours"]
        for name, value in (("mean", column["mean"]), ("scale", column["scale"]), ("turn", math.tau)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))  # a bare float is rounded in ONNX
        self.fill = NO_DATE if column["fill"] is None else seconds(datetime.fromisoformat(column["fill"]))

    def forward(self, times: Int[Tensor, " rows"]) -> Float[Tensor, "rows parts"]:
        """The inputs of the model that the column is."""
        times = torch.where(times == NO_DATE, self.fill, times)
        known = times != NO_DATE
        # Any date for those without one: arithmetic on `NO_DATE` would overflow.
        times = torch.where(known, times, 0)
        second = times % _DAY
        day = _divided(times - second, _DAY)
        year, month, days, passed = _calendar(day)
        year_passed = year + (passed + second.double() / _DAY) / days
        parts = [(year_passed - self.mean) / self.scale]
        turns = [(month - 1).double() / 12, ((day + 3) % 7).double() / 7]  # the first day was a Thursday
        for turn in [*turns, second.double() / _DAY] if self.hours else turns:
            parts += [(turn * self.turn).sin(), (turn * self.turn).cos()]
        return torch.where(known[:, None], torch.stack(parts, dim=1), torch.nan)


class Encoder(nn.Module):
    """What `encoded` does: from the columns of a table to the inputs of the model."""

    def __init__(self, columns: Sequence[Mapping[str, Any]], format: Format) -> None:
        super().__init__()
        self.names = tuple(column["name"] for column in columns)
        self.parts = nn.ModuleList(_part(column, format) for column in columns)

    def forward(self, columns: Mapping[str, Tensor]) -> Float[Tensor, "rows inputs"]:
        """The inputs, as float64."""
        values = [columns[name] for name in self.names]
        return torch.cat(
            [
                part(each[:, None] if isinstance(part, Numbers) else each)
                for part, each in zip(self.parts, values, strict=True)
            ],
            dim=1,
        )


class Decoder(nn.Module):
    """What `decode` does: from the outputs of the model to the target in its own units, or to codes of classes."""

    mean: Tensor
    scale: Tensor

    def __init__(self, encoding: Encoding) -> None:
        super().__init__()
        self.classes = "classes" in encoding
        for name, value in (("mean", encoding.get("mean", 0)), ("scale", encoding.get("scale", 1))):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))

    def forward(self, outputs: Float[Tensor, "rows outputs"]) -> tuple[Tensor, ...]:
        """The target in a column; or the code of the most probable class, and the probability of each."""
        if not self.classes:
            return (outputs.double() * self.scale + self.mean,)
        probabilities = torch.softmax(outputs.double(), dim=1)
        # `argmax` names a class of nan, too.
        known = probabilities[:, 0].isfinite()
        return torch.where(known, outputs.argmax(dim=1), UNKNOWN), probabilities


def codes(column: Mapping[str, Any], format: Format) -> dict[str, int]:
    """Maps each spelling of a column's categories to its code, and marks of a missing value to that of the filling."""
    kind = restored(column)
    style = kind.style if isinstance(kind, Category) else "text"
    known = {text: code for code, name in enumerate(column["categories"]) for text in _written(name, style)}
    if column.get("fill") is None:
        return known
    return known | dict.fromkeys(format.marks, column["categories"].index(column["fill"]))


def seconds(time: datetime) -> int:
    """A date with a time as whole seconds since 1970."""
    return calendar.timegm(time.timetuple())


def _part(column: Mapping[str, Any], format: Format) -> nn.Module:
    if "categories" in column:
        return Codes(column)
    return Dates(column) if column.get("kind") == Date.name else Numbers([column], format.missing_numbers)


def _of(columns: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [column[name] for column in columns]


def _written(name: str, style: str) -> tuple[str, ...]:
    if style in CASES:
        return name.lower(), name.title(), name.upper()
    # As many ways as can be listed: a graph looks texts up, and cannot read them.
    return (name, f"{name}.0", f"{name}.00") if style == "whole" else (name,)


def _divided(values: Int[Tensor, " rows"], n: int) -> Int[Tensor, " rows"]:
    """The quotient, rounded down. ONNX divides whole numbers towards zero: what is divided has no remainder here."""
    return torch.div((values - values % n).double(), n).long()  # exact below 2**53


def _calendar(day: Int[Tensor, " rows"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Year, month, days of the year and days of it that have passed, of a day since 1970.

    By days since March 1st of the year 0, after which leap days end years (Hinnant, 2021, "chrono-compatible low-level
    date algorithms", civil_from_days).
    """
    day = day + _EPOCH
    of_cycle = day % _CYCLE
    # The divisors are days: 1460 of four years but one, 36524 of a century, 146096 of 400 years but one.
    year = _divided(of_cycle - _divided(of_cycle, 1460) + _divided(of_cycle, 36_524) - _divided(of_cycle, 146_096), 365)
    of_year = of_cycle - (365 * year + _divided(year, 4) - _divided(year, 100))
    # Months from March on: five of them have 153 days, over and over.
    turn = _divided(5 * of_year + 2, 153)
    month = torch.where(turn < 10, turn + 3, turn - 9)
    year = year + _divided(day, _CYCLE) * 400 + (month <= 2).long()
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    passed = torch.where(month > 2, of_year + 59 + leap.long(), of_year - 306)
    return year, month, 365 + leap.long(), passed
