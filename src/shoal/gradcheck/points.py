"""Points and intervals as they are written on the command line: `1.234`, `x=1,y=2`, `x=[2,3],y=[1,4]`, `-3,3`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from shoal.commas import parts
from shoal.errors import ConfigError, ShoalError, UsageError
from shoal.expressions import parse
from shoal.seeding import Stream, generator

Point = Mapping[str, Tensor]
Interval = tuple[float, float]
Written = str | float | Sequence[float] | Mapping[str, float | Sequence[float]]

SAMPLES = 100
"""Points checked on an interval."""


def recorded(place: Point) -> dict[str, Tensor]:
    """A copy of the values on which autograd records what follows."""
    return {name: value.clone().requires_grad_() for name, value in place.items()}


def named(written: Written, key: str) -> dict[str, Tensor]:
    """The values by name; that of a value without a name is empty.

    Raises:
        ConfigError: where the text is no point.
    """
    if isinstance(written, Mapping):
        return {name: _tensor(value) for name, value in written.items()}
    if not isinstance(written, str):
        return {"": _tensor(written)}
    try:
        return _parsed(written)
    except (ShoalError, ValueError):
        raise ConfigError(key, written, "is no point", hint="for example 1.234, pi/4, [1,2,3], or x=1,y=2") from None


def assigned(values: Mapping[str, Tensor], variables: Sequence[str], key: str) -> dict[str, Tensor]:
    """A value for every variable; one without a name goes to the only variable.

    Raises:
        UsageError: where a variable has no value, or a value belongs to no variable.
    """
    if set(values) == {""}:
        if len(variables) != 1:
            names = ", ".join(f"{name}=..." for name in variables)
            raise UsageError(f"{key} must name its values: there are the variables {', '.join(variables)}", hint=names)
        return {variables[0]: values[""]}
    for name in variables:
        if name not in values:
            raise UsageError(
                f"{key} gives no value for {name}", hint=f"for example {','.join(f'{n}=1' for n in variables)}"
            )
    for name in values:
        if name not in variables:
            raise UsageError(f"{key} gives a value for {name or '?'}; the variables are {', '.join(variables)}")
    return dict(values)


def interval(written: Written) -> dict[str, Interval]:
    """The intervals by name; that of an interval for all variables is empty.

    Raises:
        ConfigError: where the text is no interval.
    """
    if isinstance(written, str) and "=" not in written and "[" not in written:
        # `-3,3` would be two points without names.
        written = f"[{written}]"
    found = named(written, "on")
    for value in found.values():
        if value.shape != (2,) or not value[0] < value[1]:
            raise ConfigError(
                "on", written, "must be an interval that rises", hint="for example -3,3 or x=[-3,3],y=[0,1]"
            )
    return {name: (value[0].item(), value[1].item()) for name, value in found.items()}


def spread(intervals: Mapping[str, Interval]) -> list[dict[str, Tensor]]:
    """Points all over the box: the midpoints of equal parts for one variable, else random ones, always the same."""
    n = len(intervals)
    # Midpoints, as the ends may be outside of a domain: of log(x) on 0,1 for example.
    unit = ((torch.arange(SAMPLES, dtype=torch.float64) + 0.5) / SAMPLES)[:, None]
    if n > 1:
        unit = torch.rand(SAMPLES, n, generator=generator(0, Stream.USER), dtype=torch.float64)
    return [
        {name: row[i] * (high - low) + low for i, (name, (low, high)) in enumerate(intervals.items())} for row in unit
    ]


def shown(point: Point) -> str:
    """`x=1, y=[2, 3]`."""
    return ", ".join(f"{name}={_number(value)}" for name, value in point.items())


def _number(value: Tensor) -> str:
    if value.dim():
        return "[" + ", ".join(f"{item:.6g}" for item in value.tolist()) + "]"
    return f"{value.item():.6g}"


def _tensor(value: float | Sequence[float]) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _parsed(text: str) -> dict[str, Tensor]:
    values: dict[str, Tensor] = {}
    for part in parts(text):
        # From the right: without a sign all of it is the value.
        name, _, value = part.rpartition("=")
        name, value = name.strip(), value.strip()
        if name in values:
            raise ValueError(f"two values for {name!r}")
        listed = value.startswith("[") and value.endswith("]")
        values[name] = torch.stack([_constant(item) for item in parts(value[1:-1])]) if listed else _constant(value)
    return values


def _constant(text: str) -> Tensor:
    return parse(text, variables=())()
