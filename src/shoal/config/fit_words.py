"""The words of `shoal fit` as overrides of a training."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from shoal.config.quoting import quoted
from shoal.errors import UsageError

_NAMED = re.compile(r"(?P<before>(?:[^;\n]*[;\n])*)\s*(?P<target>[A-Za-z_]\w*)\s*=(?P<formula>[^=;\n]*)\s*;?\s*")
_START = re.compile(r"(?P<name>[A-Za-z_]\w*)=(?P<value>.*)")


def fit_words(table: Path, formula: str, words: Sequence[str]) -> list[str]:
    """The overrides for a fit of `formula` to a table; `words` are starts of its names, and other settings.

    Raises:
        UsageError: where the formula does not say which column it is for, or a start is no number.
    """
    from shoal.expressions import names_in
    from shoal.expressions.functions import NAMES

    found = _NAMED.fullmatch(formula)
    if found is None:
        raise UsageError(f"{formula!r} does not name the column that it is for", hint="for example 'y = a*x+b'")
    expression = f"{found['before']}{found['formula']}".strip()
    names = names_in(expression)
    starts, others = {}, []
    for word in words:
        given = _START.fullmatch(word)
        if given and given["name"] in NAMES:
            problem = f"{word}: {given['name']!r} has a meaning already and can be no parameter"
            raise UsageError(problem, hint="give the parameter another name, in the formula too")
        if given and given["name"] in names:
            starts[given["name"]] = _number(word, given["value"])
        else:
            others.append(word)
    return [
        "task=csv",
        f"task.path={_text(str(table))}",
        f"task.target={_text(found['target'])}",
        "model=formula",
        f"model.expression={_text(expression)}",
        f"model.start={{{','.join(f'{name}:{value}' for name, value in starts.items())}}}",
        "optimizer=lm",
        *quoted(others),
    ]


def _number(word: str, value: str) -> str:
    try:
        return repr(float(value))
    except ValueError:
        raise UsageError(f"{word}: the start of a parameter must be a number", hint="for example b1=500") from None


def _text(value: str) -> str:
    """A text as Hydra's grammar takes it for one, whatever is in it."""
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', value)
    return f'"{escaped}"'
