"""What the settings of a node mean and allow, as its constructor says: for the reference, for schemas, for the help."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from shoal.aliases import canonical
from shoal.build.annotations import in_words
from shoal.build.hydra_keys import TARGET
from shoal.build.named_constructor import Constructor, constructor

GIVEN: Mapping[str, tuple[str, ...]] = {
    "model": ("inputs", "outputs"),
    "optimizer": ("params",),
    "scheduler": ("optimizer",),
}
"""Parameters of a group's constructors that the program gives."""


@dataclass(frozen=True, kw_only=True)
class Documented:
    """A setting of a node."""

    name: str
    annotation: Any
    """What it may be; None where the constructor does not say."""
    default: Any
    """As the file has it, else the constructor; `???` where there is none."""
    meaning: str
    listed: bool
    """Whether the file has it; else it is left to the constructor."""

    @property
    def allowed(self) -> str:
        """In words."""
        if self.annotation is None:
            return ""
        text = in_words(self.annotation)
        return text.replace("a class or function, as module.Name", "a node with a `_target_`").replace(
            "a Task", "a node with a `_target_`"
        )


def documented(group: str, node: Mapping[str, Any], more: Mapping[str, str]) -> list[Documented]:
    """The settings of a node in a file of `group`: those that the file lists, then those it leaves to the constructor.

    `more` says what those mean that the constructor does not document itself.

    Raises:
        ValueError: where its `_target_` names no constructor.
    """
    made = constructor(str(node[TARGET])).without(*GIVEN.get(group, ()))
    meanings = {**more, **_meanings(made)}
    return [
        Documented(
            name=name,
            annotation=made.hints.get(name),
            default=value,
            meaning=meanings.get(name, ""),
            listed=name in node,
        )
        for name, value in _settings(node, made)
    ]


def comments(text: str) -> dict[str, str]:
    """The comment above each key of a YAML file, by the key's path: two levels at most."""
    found: dict[str, str] = {}
    pending: list[str] = []
    parent = ""
    # By lines: a YAML parser drops comments.
    for line in text.splitlines():
        if match := re.match(r"\s*# (.*)", line):
            pending.append(match[1])
            continue
        if match := re.match(r"(\s*)([\w.]+):", line):
            name = f"{parent}.{match[2]}" if match[1] and parent else match[2]
            if not match[1]:
                parent = match[2]
            if pending:
                found[name] = " ".join(pending)
        pending = []
    return found


def _settings(node: Mapping[str, Any], made: Constructor) -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if name != TARGET:
            yield name, value
    # Of other classes only what the file lists: an optimizer of torch's has a dozen more, documented elsewhere.
    if made.call.__module__.startswith("shoal."):
        for name, parameter in made.parameters.items():
            if name not in node:
                yield name, parameter.default if parameter.default is not parameter.empty else "???"


def _meanings(made: Constructor) -> dict[str, str]:
    """The docstring below each annotated attribute of a class and of those it inherits from."""
    found: dict[str, str] = {}
    # The class itself last: what it says beats what it inherits.
    for cls in reversed(inspect.getmro(made.call)) if inspect.isclass(made.call) else ():
        if canonical(cls.__module__).partition(".")[0] not in ("builtins", "torch", "pytorch_lightning"):
            found |= _below_attributes(cls)
    return found


def _below_attributes(cls: type) -> dict[str, str]:
    try:
        # From the source: Python keeps no docstrings of attributes.
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except (OSError, TypeError):  # its source is not there
        return {}
    texts = {}
    for statement, following in pairwise(tree.body if isinstance(tree, ast.ClassDef) else []):
        match statement, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[name] = " ".join(text.split())
    return texts
