"""What a step leaves outside of its module: lost in a stack, where it runs once for many runs and batches; refused."""

from __future__ import annotations

import gc
import io
import random
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy
from torch import Tensor, nn

from shoal.step.called import DRAWS, called
from shoal.step.held import UNSHOWN, leaf, named
from shoal.step.outside import outside
from shoal.step.reach import Reach
from shoal.step.shared import Shared
from shoal.step.silenced import silenced
from shoal.step.unfit import AFTERWARDS, AS_BUFFER, CannotStackError


@dataclass
class _Trials:
    """What the steps of modules of one class have done outside of them since they were tried first."""

    first: Reach
    """As it was before any of them."""
    changed: set[str] = field(default_factory=set)
    grown: set[Any] = field(default_factory=set)
    """The modules and forms of batches of the steps that have made something there."""


_trials: dict[type, _Trials] = {}


@contextmanager
def nothing_left(
    module: nn.Module, form: Any = None, *, hears: bool = False, traced: bool = False
) -> Iterator[AbstractContextManager[None]]:
    """Refuse what leaves anything outside of the module, and put it back; `form` is that of the batch.

    If it `hears`, calls of functions in C are refused as well (`called`) within what is given, which is for the user's
    own code: all that an engine calls around it takes as long again. While a step is `traced`, torch draws for itself.

    Raises:
        CannotStackError: where it prints, logs, writes a file, draws from Python's or NumPy's generator, or changes a
            second time what lies outside.
    """
    with outside():  # of a tensor it keeps a copy, which is no part of the step
        shared, before = Shared(), Reach(module, keeps=True)
    files = [(path, file, _position(file)) for path, file in _files(module, before)]
    # What checks types draws from Python's: where its calls are not heard, nothing is known of who has.
    drawn = _generators(python=not hears and "beartype" not in sys.modules)
    more: list[tuple[str, str]] = []
    with silenced() as refused:
        yield called(more) if hears else nullcontext()
    for what in (*refused, *more):  # by an error that the step itself has caught
        raise CannotStackError(*what)
    if not traced and _generators(python=drawn[0] is not None) != drawn:
        raise CannotStackError(*DRAWS)
    changed = next(shared.changed(), None)
    if changed:
        shared.put_back()
        raise CannotStackError(f"changes {changed}", AFTERWARDS)
    for path, file, position in files:
        if _position(file) != position:
            _cut(file, position)
            raise CannotStackError(f"writes to {path}, a file", AFTERWARDS)
    _see(module, form, before, made=hears)


def _generators(*, python: bool) -> Any:
    """Where NumPy's global generator is, and Python's."""
    return random.getstate() if python else None, leaf(numpy.random.mtrand._rand)


@contextmanager
def forgetting() -> Iterator[None]:
    """Let what steps have made once within the block be made once more later: nobody holds it for them any longer."""
    try:
        yield
    finally:
        _trials.clear()


def _see(module: nn.Module, form: Any, before: Reach, *, made: bool) -> None:
    """Refuse what has changed again; of what was `made` only where the same step is taken again and again."""
    kind: Any = type(module)  # which mypy takes for one without a hash
    now = Reach(module)
    if before.held == now.held:
        return
    trials, step = _trials.setdefault(kind, _Trials(before)), (id(module), form)
    # What a function keeps of its results grows by what it was called with, and comes to the same if it is forgotten.
    changed, grown = [*before.changed(now)], [path for path in before.grown(now) if f"(){UNSHOWN}" not in path]
    # The first time it may have been made, to be kept: then it is the same the next time.
    again = next((path for path in changed if path in trials.changed), None)
    what = again or (grown[0] if grown and made and step in trials.grown else None)
    trials.changed.update(changed)
    trials.grown |= {step} if grown else set()
    if what:
        # As if nobody had tried any: the first time was a trial, too.
        with outside():
            trials.first.put_back()
        done = f"{'changes' if again else 'fills'} {what.partition(UNSHOWN)[0]}"
        raise CannotStackError(f"{done}, which is no attribute of its module", AS_BUFFER)


def _files(module: nn.Module, outside: Reach) -> Iterator[tuple[str, io.IOBase]]:
    """The files open for writing that objects out there hold, and the module and what is in its attributes."""
    own = [(".".join(filter(None, ("self", path))), part) for path, part in module.named_modules()]
    inner = [(f"{path}.{name}", each) for path, part in own for name, each in vars(part).items() if _has_names(each)]
    for path, holder in [*outside.owners, *own, *inner]:
        for name, value in named(holder).items():
            file = _file(value)
            if file is not None:
                yield f"{path}.{name}", file


def _has_names(value: Any) -> bool:
    return hasattr(value, "__dict__") and not isinstance(value, type | Tensor | nn.Module)


def _file(value: Any) -> io.IOBase | None:
    # What writes rows for `csv` has no attribute that names its file.
    if type(value).__module__ == "_csv":
        methods = gc.get_referents(value)
        value = next((method.__self__ for method in methods if hasattr(method, "__self__")), None)
    if not isinstance(value, io.IOBase):
        return None
    return value if not value.closed and value.writable() and value.seekable() else None


def _position(file: io.IOBase) -> int:
    return -1 if file.closed else file.tell()


def _cut(file: io.IOBase, position: int) -> None:
    """Take back what was written from there on."""
    if not file.closed:
        file.seek(position)
        file.truncate()
