"""How numbers, times and names read in a terminal and on a page."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from shoal.errors import shown
from shoal.names import GRAD_NORM, GRAD_NORM_CLIPPED, LR
from shoal.rundir import RunInfo

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def printable(text: str) -> str:
    """The text on one line, with whatever could steer a terminal or turn the reading direction spelled out."""
    if text.isascii() and text.isprintable():
        return text
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode(), text)


def number(value: Any) -> str:
    """A number with four significant digits; other values as one would type them."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else printable(shown(value))


def measure(value: float) -> str:
    """What was measured with four significant digits; a dash where that is not a number."""
    return f"{value:.4g}" if value == value else "-"


def duration(seconds: float | None) -> str:
    """`3.4s`, `2m05s`, `1h12m`, `3d04h`."""
    if seconds is None or seconds != seconds:
        return ""
    # Below a minute as it is printed, too.
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours < 48 else f"{hours // 24}d{hours % 24:02d}h"


def ago(seconds: float | None) -> str:
    """How long ago in one unit: `12s`, `5min`, `3h`, `2d`, `6w`."""
    if seconds is None:
        return ""
    for size, unit in ((604800 * 2, "w"), (86400 * 2, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            whole = {"w": 604800, "d": 86400}.get(unit, size)
            return f"{int(seconds // whole)}{unit}"
    return f"{max(0, int(seconds))}s"


def size(n_bytes: float) -> str:
    """`820 B`, `12.3 kB`, `4.5 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000 or unit == "GB":
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    raise AssertionError


def settings(values: Mapping[str, Any], *, brief: bool = False) -> str:
    """`optimizer.lr=0.01 seed=3`; brief, `lr=0.01 seed=3`, as far as the last words differ, with six digits."""
    names = [str(name) for name in values]
    if brief:
        last = [name.rsplit(".", 1)[-1] for name in names]
        # Two settings whose last words are the same could not be told apart.
        names = last if len(set(last)) == len(last) else names
    texts = [value if type(value) is str else shown(value, brief=brief) for value in values.values()]
    return printable(" ".join([f"{name}={text}" for name, text in zip(names, texts, strict=True)]))


def counted(n: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def outcomes(counts: Mapping[str, int], n_halved: int) -> str:
    """`3 completed, 1 diverged`; where halving has stopped some, `2 trained to the end, 22 stopped by halving`."""
    parts = []
    for status, n in counts.items():
        if status == "completed" and n_halved:
            parts += [f"{n - n_halved} trained to the end", f"{n_halved} stopped by halving"]
        elif n:
            parts.append(f"{n} {status}")
    return ", ".join(parts)


def chance(p: float | None) -> str:
    """A p-value: `0.31`, `<0.001`; empty where there is none."""
    return "" if p is None else "<0.001" if p < 0.001 else f"{p:.2g}"


def cut(n: int, of: int) -> list[str]:
    """`20 of 108 shown`, as the line below a table that is not whole."""
    return [f"{n} of {of} shown"] if n < of else []


def of_best_state(metric: str, info: RunInfo, text: Callable[[float], str]) -> str | None:
    """What stands beside a metric's last value: `best 0.07 in epoch 3`, or `0.08 at best` of one that did not choose.

    None where it was the same then, or says nothing of how good a state is.
    """
    if info.best and info.best.metric == metric:
        return f"best {text(info.best.value)} in epoch {info.best.epoch}"
    then = info.at_best.get(metric)
    of_training = metric in (LR, GRAD_NORM, GRAD_NORM_CLIPPED)
    return None if then is None or then == info.final[metric] or of_training else f"{text(then)} at best"


def in_unit(text: str, metric: str, unit: str | None) -> str:
    """The value of a metric with the target's unit, where it is an error in that."""
    part, _, name = metric.partition("/")
    return f"{text} {printable(unit)}" if unit and part != "derivative" and name in ("rmse", "mae") else text
