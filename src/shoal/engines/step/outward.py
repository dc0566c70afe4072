"""What a step leaves outside of its module: lost in a stack, where it runs once for many runs and batches; refused."""

from __future__ import annotations

import builtins
import io
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from torch import Tensor, nn

from shoal.engines.step.unfit import CannotStackError

_UPSTREAM = ("torch", "pytorch_lightning", "lightning", "lightning_fabric", "torchmetrics", "shoal", "builtins")
_PLAIN = (bool, int, float, str, type(None), Tensor)
_LONGEST = 1000
"""Values of a container that is looked at."""
_SINKS = (
    ("tensorboard.summary.writer.event_file_writer", "EventFileWriter", "add_event"),
    ("tensorboardX.event_file_writer", "EventFileWriter", "add_event"),
    ("wandb.sdk.wandb_run", "Run", "log"),
    ("mlflow.tracking.client", "MlflowClient", "log_metric"),
    ("mlflow.tracking.client", "MlflowClient", "log_batch"),
)
"""Where programs log beside Lightning: file, class and method, of those that a program has imported."""
_once: dict[tuple[int, str], tuple[Any, Any]] = {}
"""What steps have changed outside of their modules, by whose it is and its name: as it was before, and after."""


@contextmanager
def nothing_left(module: nn.Module) -> Iterator[None]:
    """Refuse what leaves anything outside of the module, and put it back.

    Raises:
        CannotStackError: where it prints, logs, writes a file, or changes a second time what lies outside.
    """
    environment, places = dict(os.environ), [*_outside(module)]
    kept = [_content(vars(holder)) for _, holder in places]
    with _silent() as refused:
        yield
    if refused:  # by an error that the step itself has caught
        raise CannotStackError(refused[0])
    if dict(os.environ) != environment:
        os.environ.clear()
        os.environ.update(environment)
        raise CannotStackError("changes os.environ")
    for (path, holder), old in zip(places, kept, strict=True):
        for name in _changed(vars(holder), old):
            # The first time it may have been made, to be kept: then it is the same the next time.
            before, after = _once.get((id(holder), name), (None, None))
            _once[id(holder), name] = old[name], _content(vars(holder)).get(name)
            if before is not None:
                # As if nobody had tried the step: the first time was a trial too, unless others have come since.
                _put_back(holder, name, *(before if _same(after, old[name]) else old[name]))
                raise CannotStackError(f"changes {path}.{name}, which is no attribute of its module")


def _same(one: Any, other: Any) -> bool:
    return one is not None and one[0] is other[0] and one[1] == other[1]


def _put_back(holder: Any, name: str, value: Any, held: Any) -> None:
    if isinstance(value, list):
        value[:] = held[:-1]
    elif isinstance(value, dict | set):
        value.clear()
        value.update(held if isinstance(value, dict) else held[:-1])
    setattr(holder, name, value)


def _outside(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """The classes of a module and its parts, and the files that these are in, by what they are called."""
    seen = set[Any]()
    for part in module.modules():
        for cls in type(part).__mro__:
            home = cls.__module__
            if cls in seen or home.partition(".")[0] in _UPSTREAM:
                continue
            seen |= {cls}
            yield cls.__qualname__, cls
            if home not in seen and home in sys.modules:
                seen.add(home)
                yield home, sys.modules[home]


def _content(holder: Mapping[str, Any]) -> dict[str, Any]:
    """The values of names; of containers what they hold, unless that is very much."""
    return {
        name: (value, _held(value))
        for name, value in list(holder.items())
        if not name.startswith("__")
        and (isinstance(value, _PLAIN) or (isinstance(value, list | dict | set) and len(value) <= _LONGEST))
    }


def _held(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value._version
    if isinstance(value, dict):
        return dict(value)
    # The length, too: by that a longer one is told at once.
    return [*value, len(value)] if isinstance(value, list | set) else None


def _changed(holder: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[str]:
    for name, (value, held) in old.items():
        now = holder.get(name)
        if now is not value and not (type(now) is type(value) and not isinstance(now, Tensor) and now == value):
            yield name
        elif isinstance(value, dict):
            # One that grows keeps what was made for a new key.
            if any(value.get(key) is not each and not _equal(value.get(key), each) for key, each in held.items()):
                yield name
        elif held is not None and not _equal(_held(value), held):
            yield name


def _equal(one: Any, other: Any) -> bool:
    """Whether two values are one, or equal: of those that cannot tell, only one and the same."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one is other or (isinstance(one, _PLAIN[:-1]) and type(one) is type(other) and one == other)


@contextmanager
def _silent() -> Iterator[list[str]]:
    """Refuse to print, to log and to open a file for writing, in this thread; gives what was refused."""
    me, refused = threading.get_ident(), list[str]()

    def refusing(genuine: Callable[..., Any], what: str, applies: Callable[..., bool]) -> Callable[..., Any]:
        def asked(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() == me and applies(*args, **kwargs):
                refused.append(what)
                raise CannotStackError(what)
            return genuine(*args, **kwargs)

        return asked

    writing = refusing(builtins.open, "writes a file", _writes)
    with ExitStack() as stack:
        for owner in (builtins, io):
            stack.enter_context(patch.object(owner, "open", writing))
        stack.enter_context(patch.object(builtins, "print", refusing(print, "prints", _shown)))
        handle = refusing(logging.Logger.handle, "writes to the log", _told)
        stack.enter_context(patch.object(logging.Logger, "handle", handle))
        for home, of, name in _SINKS:
            cls = getattr(sys.modules.get(home), of, None)
            if cls is not None:
                telling = refusing(getattr(cls, name), f"tells {of} something past self.log", _always)
                stack.enter_context(patch.object(cls, name, telling))
        yield refused


def _always(*args: Any, **kwargs: Any) -> bool:
    return True


def _writes(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> bool:
    return any(letter in mode for letter in "wax+")


def _shown(*args: Any, file: Any = None, **kwargs: Any) -> bool:
    return file in (None, sys.stdout, sys.stderr)


def _told(logger: logging.Logger, record: logging.LogRecord) -> bool:
    return logger.name.partition(".")[0] not in _UPSTREAM
