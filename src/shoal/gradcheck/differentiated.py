"""What is differentiated: a formula, or a function of the user's."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from shoal.errors import ShoalError, UsageError, brief, suggestion
from shoal.expressions import VARIABLE, Expression, parse
from shoal.gradcheck.points import Point, recorded
from shoal.startup import complete_torch

_OURS = {Path(__file__).parents[1], Path(torch.__file__).parent, Path(importlib.__file__).parent}
_PYTHON = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Differentiated:
    """A function of named tensors."""

    text: str
    variables: tuple[str, ...]
    call: Callable[..., Tensor]
    formula: Expression | None
    """Where it has one."""

    def values(self, place: Point) -> Tensor:
        """Its values alone. Its operations are recorded all the same: it may differentiate on its way."""
        return self.call(**recorded(place)).detach()


def function(of: str | Callable[..., Tensor], names: Sequence[str]) -> Differentiated:
    """The function that `of` is, or names: a formula, or `module:function`. `names` may declare a formula's variables.

    Raises:
        ConfigError, UsageError: where there is no such function.
    """
    if not isinstance(of, str):
        return _python(of, getattr(of, "__qualname__", repr(of)), names)
    if _PYTHON.fullmatch(of):
        return _python(_located(of), of, names)
    # Names that a formula may have anyway need no declaration; what is then missing or too many is said of the point.
    declared = None if all(VARIABLE.fullmatch(name) or not name for name in names) else tuple(names)
    formula = parse(of, variables=declared)
    return Differentiated(of, formula.variables, formula, formula)


def _python(call: Callable[..., Tensor], text: str, names: Sequence[str]) -> Differentiated:
    """A Python function of its named parameters; the others keep their defaults."""
    parameters = inspect.signature(call).parameters.values()
    variables = (each.name for each in parameters if each.default is each.empty or each.name in names)
    return Differentiated(text, tuple(variables), _reported(call, text), None)


def _reported(call: Callable[..., Tensor], text: str) -> Callable[..., Tensor]:
    """The function, with its own failures told as such."""

    def reported(**values: Tensor) -> Tensor:
        with failures(text):
            found = call(**values)
        if not isinstance(found, Tensor):
            raise UsageError(f"{text} returns {type(found).__name__}, not a tensor")
        return found

    return reported


@contextmanager
def failures(text: str) -> Iterator[None]:
    """Within, an exception is one of the user's code, which `text` names.

    Raises:
        UsageError: for any that is not shoal's own.
    """
    try:
        yield
    except ShoalError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        # The user's own line: not one of shoal, torch or `<frozen importlib>`, through which the error has come.
        theirs = [each for each in frames if each.filename[0] != "<" and not _OURS & {*Path(each.filename).parents}]
        hint = f"{Path(theirs[-1].filename).name}, line {theirs[-1].lineno}" if theirs else ""
        raise UsageError(f"{text} fails: {brief(error)}", hint=hint) from error


def _located(text: str) -> Callable[..., Tensor]:
    module, name = text.split(":")
    # As `python -m` does; for the command `shoal` its own folder stands there.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    if module.endswith(".py"):
        raise UsageError(
            f"{text}: must name a module, not a file", hint=f"for example {module.removesuffix('.py')}:{name}"
        )
    # The user's code may need the parts of torch that shoal starts without.
    complete_torch()
    try:
        with failures(f"importing {module}"):
            found = importlib.import_module(module)
    except UsageError as error:
        if isinstance(error.__cause__, ModuleNotFoundError):
            missing = error.__cause__.name or module
            # With the dot: a missing `a` explains `a.b`, but not `ab`.
            name = module if f"{module}.".startswith(f"{missing}.") else f"{missing}, which {module} imports"
            raise UsageError(f"{text}: no module {name}", hint=f"the working directory is {Path.cwd()}") from error
        raise
    if not callable(getattr(found, name, None)):
        names = [name for name, item in vars(found).items() if callable(item) and not name.startswith("_")]
        raise UsageError(f"{text}: {module} has no function {name!r}", hint=suggestion(name, names))
    call: Callable[..., Tensor] = getattr(found, name)
    return call
