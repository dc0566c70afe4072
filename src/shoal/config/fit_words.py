"""The words of `shoal fit` as overrides of a training."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from shoal.config.quoting import quoted
from shoal.errors import UsageError

_NAMED = re.compile(r"\s*(?P<name>[A-Za-z_]\w*)\s*=(?P<formula>[^=]*)")
_CODE = re.compile(r"(?P<targets>[A-Za-z_]\w*(\s*,\s*[A-Za-z_]\w*)*)\s*=\s*(?P<path>[A-Za-z_]\w*(\.[A-Za-z_]\w*)+)")
_START = re.compile(r"(?:model\.start\.)?(?P<name>[A-Za-z_]\w*)=(?P<value>.*)", re.DOTALL)
_TARGET = re.compile(r"task\.target=\[?(?P<names>[^\]]*)\]?")


def fit_words(table: Path, formula: str, words: Sequence[str]) -> list[str]:
    """The overrides for a fit of `formula` to a table; `words` are starts of its names, and other settings.

    Raises:
        UsageError: where the formula does not say which column it is for, or a start is no number.
    """
    found = _CODE.fullmatch(formula.strip())
    if found is not None:
        # A dotted path is code, which says itself what its parameters are: they are known once it is imported.
        targets = [name.strip() for name in found["targets"].split(",")]
        return _overrides(table, targets, [f"model.code={found['path']}"], *_starts(words, None))
    statements = _statements(formula)
    targets, words = _targets(statements, words)
    texts = [_text(_of_target(statements, target)) for target in targets]
    # Several targets are one list, whose formulas share their parameters.
    expression = texts[0] if len(texts) == 1 else f"[{','.join(texts)}]"
    names = [name for text in statements.values() for name in _names(text)]
    return _overrides(table, targets, [f"model.expression={expression}"], *_starts(words, names))


def _overrides(
    table: Path, targets: Sequence[str], model: Sequence[str], starts: Mapping[str, str], others: Sequence[str]
) -> list[str]:
    names = ",".join(map(_text, targets))
    return [
        "task=csv",
        f"task.path={_text(str(table))}",
        f"task.target=[{names}]" if len(targets) > 1 else f"task.target={names}",
        "model=formula",
        *model,
        *_given_starts(starts, others),
        "optimizer=lm",
        # What is made here is quoted already; the user's own words may hold formulas too.
        *quoted(others),
    ]


def _statements(text: str) -> dict[str, str]:
    """The formulas by their names, in their order."""
    found: dict[str, str] = {}
    for part in re.split(r"[;\n]", text):
        if not part.strip():
            continue
        named = _NAMED.fullmatch(part)
        if named is None or not named["formula"].strip():
            raise UsageError(
                f"{part.strip()!r} does not name the column that it is for", hint="for example 'y = a*x+b'"
            )
        if named["name"] in found:
            raise UsageError(f"{named['name']} is given two formulas", hint="one for each column")
        if named["name"] in _names(named["formula"]):
            hint = "of a model that is not solved for it, the target is a column of zeros: 'zero = ...'"
            raise UsageError(f"{part.strip()!r}: {named['name']} stands in its own formula", hint=hint)
        found[named["name"]] = named["formula"].strip()
    if not found:
        raise UsageError(f"{text!r} does not name the column that it is for", hint="for example 'y = a*x+b'")
    return found


def _targets(statements: Mapping[str, str], words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The columns that are fitted, which no other formula makes use of unless `words` name them; the other words."""
    asked = [match for word in words if (match := _TARGET.fullmatch(word))]
    others = [word for word in words if not _TARGET.fullmatch(word)]
    if asked:
        wanted = [name.strip() for name in asked[-1]["names"].split(",") if name.strip()]
        for name in wanted:
            if name not in statements:
                raise UsageError(f"task.target={name}: there is no formula for it", hint=f"{name} = ...")
        return wanted, others
    used = {name for text in statements.values() for name in _names(text)}
    # Formulas that refer to each other in a circle leave none: the last is what they are for.
    return [name for name in statements if name not in used] or [[*statements][-1]], others


def _of_target(statements: Mapping[str, str], target: str) -> str:
    """The formula of a target, after those it makes use of."""
    needed, left = {target}, [target]
    while left:
        new = [name for name in _names(statements[left.pop()]) if name in statements and name not in needed]
        needed |= set(new)
        left += new
    before = [f"{name}={text}" for name, text in statements.items() if name in needed and name != target]
    return "; ".join([*before, statements[target]])


def _names(text: str) -> tuple[str, ...]:
    from shoal.expressions import names_in

    return names_in(text)


def _starts(words: Sequence[str], names: Sequence[str] | None) -> tuple[dict[str, str], list[str]]:
    """The starts of a formula's names, and the other words; a function's names are not known here."""
    from shoal.expressions.functions import NAMES

    starts: dict[str, str] = {}
    others = []
    # In the order of the words: what is no start keeps its place among the overrides.
    for word in words:
        given = _START.fullmatch(word)
        if given and names is not None and given["name"] in NAMES:
            problem = f"{word}: {given['name']!r} has a meaning already and can be no parameter"
            raise UsageError(problem, hint="give the parameter another name, in the formula too")
        if given and (given["name"] in names if names is not None else _is_start(given)):
            if (name := given["name"]) in starts:
                problem = f"{name}={starts[name]} and {word}: two starts of {name}"
                raise UsageError(problem, hint="leave one of them out")
            starts[name] = _number(word, given["value"])
        else:
            others.append(word)
    return starts, others


def _given_starts(starts: Mapping[str, str], others: Sequence[str]) -> list[str]:
    """The setting of the starts, unless the other words have it.

    Raises:
        UsageError: where the starts are given twice.
    """
    whole = [word for word in others if word.startswith("model.start=")]
    if whole and starts:
        [name, value] = next(iter(starts.items()))
        both = f"{name}={value} and {whole[0]}"
        raise UsageError(f"{both}: the starts are given twice", hint="all of them as NAME=START, or all in model.start")
    return [] if whole else [f"model.start={{{','.join(f'{name}:{value}' for name, value in starts.items())}}}"]


def _is_start(given: re.Match[str]) -> bool:
    """Whether a word is the start of a function's parameter: a number, under a name that no setting has."""
    from shoal.build.checked_job import SETTINGS

    return given["name"] not in SETTINGS and _is_number(given["value"])


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _number(word: str, value: str) -> str:
    if not _is_number(value):
        raise UsageError(f"{word}: the start of a parameter must be a number", hint="for example b1=500")
    # However Python lets a number be written, in the form that Hydra's grammar takes for a float.
    return repr(float(value))


def _text(value: str) -> str:
    """A text as Hydra's grammar takes it for one, whatever is in it."""
    # Hydra's grammar halves backslashes only before a quote: only these are doubled.
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', value)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)  # one at the end would take the closing quote for itself
    return f'"{escaped}"'
