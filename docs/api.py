"""Writes api.md: what there is for Python, from the signatures and docstrings.

`python docs/api.py` after changing one of them; a test holds the page to what this gives.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from enum import EnumType
from importlib import import_module
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "api.md"
INTRODUCTION = """\
# Python, name by name

What programs and classes of one's own build on; [From Python](python.md) and [Extending](extending.md) show it at work.

This page is written from the signatures and docstrings by `docs/api.py`.
"""
SECTIONS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "Train, find, load": {"shoal": ("train", "fit", "sweep", "load", "runs", "Run", "Sweep")},
    "Errors": {"shoal.errors": ("ShoalError", "ConfigError", "UsageError", "DamagedError", "Caution")},
    "Tasks": {"shoal.tasks": ("Task", "Supervised", "Curve", "Data", "Split")},
    "Models, losses, optimizers, schedulers": {
        "shoal.models": ("Model",),
        "shoal.losses": ("Loss",),
        "shoal.optimizers": ("Optimizer", "Rule"),
        "shoal.schedulers": ("Scheduler",),
    },
    "Randomness": {"shoal.seeding": ("Stream", "generator")},
}


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for title, modules in SECTIONS.items():
        parts.append(f"## {title}\n")
        for module, names in modules.items():
            parts += [_object(f"{module}.{name}", getattr(import_module(module), name)) for name in names]
    return "\n".join(parts)


def _object(path: str, found: Any) -> str:
    lines = [f"### `{path}`\n", _signature(path, found), _text(inspect.getdoc(found) or "")]
    if inspect.isclass(found):
        lines += [f"- `{name}`: {sentence}" for name, sentence in _members(found)]
    return "\n".join([*lines, ""])


def _signature(path: str, found: Any) -> str:
    if isinstance(found, EnumType):  # what makes a member of a value is another signature in each version of Python
        return f"One of {', '.join(f'`{name}`' for name in found.__members__)}.\n"
    try:
        signature = inspect.signature(found)
    except ValueError:
        return ""
    words: list[str] = []
    for each in signature.parameters.values():
        if each.kind is each.KEYWORD_ONLY and "*" not in words:
            words.append("*")
        words.append(_parameter(each))
    name = path.rpartition(".")[2]
    given = "" if inspect.isclass(found) else f" -> {signature.return_annotation}"
    line = f"{name}({', '.join(words)}){given}"
    if len(line) > 100:
        inner = "".join(f"    {word},\n" for word in words)
        line = f"{name}(\n{inner}){given}"
    return f"```text\n{line}\n```\n"


def _parameter(parameter: inspect.Parameter) -> str:
    annotation = parameter.annotation
    kind = (
        ""
        if annotation is parameter.empty
        else f": {annotation if isinstance(annotation, str) else annotation.__name__}"
    )
    if parameter.default is parameter.empty:
        return f"{parameter.name}{kind}"
    default = repr(parameter.default)
    return f"{parameter.name}{kind} = {'...' if default.startswith('<') else default}"


def _members(cls: type) -> Iterator[tuple[str, str]]:
    """The public methods, properties and documented attributes of a class, each with its first sentence."""
    for name, member in inspect.getmembers_static(cls):
        inner = (
            member.fget
            if isinstance(member, property)
            else getattr(member, "func", getattr(member, "__func__", member))
        )
        if name.startswith("_") or not callable(inner) or not str(getattr(inner, "__module__", "")).startswith("shoal"):
            continue
        said = inspect.getdoc(inner)
        call = "" if isinstance(member, property) or hasattr(member, "func") else "()"
        if said:
            yield f"{name}{call}", " ".join(said.partition("\n\n")[0].split())


def _text(docstring: str) -> str:
    """A docstring as Markdown: its errors as a list."""
    text, _, raises = docstring.partition("\n\nRaises:\n")
    if not raises:
        return f"{text}\n"
    joined = re.sub(r"\n\s{5,}", " ", raises)
    lines = [f"- raises {line.strip()}" for line in joined.splitlines() if line.strip()]
    return f"{text}\n\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
