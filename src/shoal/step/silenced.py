"""Actions that leave something where no stack finds it, refused while a step runs."""

from __future__ import annotations

import builtins
import io
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch

from shoal.step.unfit import AFTERWARDS, CannotStackError

UPSTREAM = ("torch", "pytorch_lightning", "lightning", "lightning_fabric", "torchmetrics", "shoal", "builtins")
"""Packages that may do what the engine knows of."""
_SINKS = (
    ("tensorboard.summary.writer.event_file_writer", "EventFileWriter", "add_event"),
    ("tensorboardX.event_file_writer", "EventFileWriter", "add_event"),
    ("wandb.sdk.wandb_run", "Run", "log"),
    ("mlflow.tracking.client", "MlflowClient", "log_metric"),
    ("mlflow.tracking.client", "MlflowClient", "log_batch"),
)
"""Where programs log beside Lightning: file, class and method, of those that a program has imported."""


@contextmanager
def silenced() -> Iterator[list[tuple[str, str]]]:
    """Refuse to print, to log, to change files and to begin processes, in this thread; gives what was refused."""
    me, refused = threading.get_ident(), list[tuple[str, str]]()

    def refusing(genuine: Callable[..., Any], what: str, applies: Callable[..., bool]) -> Callable[..., Any]:
        def asked(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() == me and applies(*args, **kwargs):
                refused.append((what, AFTERWARDS))
                raise CannotStackError(what, AFTERWARDS)
            return genuine(*args, **kwargs)

        return asked

    before = [(owner, name, getattr(owner, name), what, applies) for owner, name, what, applies in _actions()]
    streams = [(name, getattr(sys, name)) for name in ("stdout", "stderr")]
    try:
        for owner, name, genuine, what, applies in before:
            setattr(owner, name, refusing(genuine, what, applies))
        for name, stream in streams:
            setattr(sys, name, _Stream(stream, refusing(stream.write, "prints", _written)))
        yield refused
    finally:
        for owner, name, genuine, _, _ in before:
            setattr(owner, name, genuine)
        for name, stream in streams:
            setattr(sys, name, stream)


def _actions() -> Iterator[tuple[Any, str, str, Callable[..., bool]]]:
    """Whose method it is, its name, what it does, and whether it does that with its arguments."""
    yield builtins, "open", "writes a file", _writes
    yield io, "open", "writes a file", _writes
    yield os, "open", "writes a file", _opens
    for name in ("mkdir", "remove", "unlink", "rename", "replace"):
        yield os, name, "changes files", _acts
    yield torch, "save", "writes a file", _saves
    yield subprocess.Popen, "__init__", "begins a process", _acts
    yield builtins, "print", "prints", _shown
    yield logging.Logger, "handle", "writes to the log", _told
    for home, of, name in _SINKS:
        cls = getattr(sys.modules.get(home), of, None)
        if cls is not None:
            yield cls, name, f"tells {of} something past self.log", _always


class _Stream:
    """Stands for the terminal's output."""

    def __init__(self, genuine: Any, write: Callable[..., Any]) -> None:
        self._genuine, self.write = genuine, write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._genuine, name)


def _written(text: str) -> bool:
    # Two frames up is who writes. A warning has other ways to be told, and loggers have their levels.
    return sys._getframe(2).f_globals.get("__name__") not in ("warnings", "logging")


def _is_by_torch() -> bool:
    """Whether torch does it, which makes folders for itself when a step is traced first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        root = frame.f_globals.get("__name__", "").partition(".")[0]
        # Past what asks here, what checks its types and Python's own modules.
        if root not in sys.stdlib_module_names and root not in ("shoal", "jaxtyping", "beartype"):
            return bool(root == "torch")
        frame = frame.f_back
    return False


def _acts(*args: Any, **kwargs: Any) -> bool:
    return not _is_by_torch()


def _opens(path: Any, flags: int, *args: Any, **kwargs: Any) -> bool:
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) and not _is_by_torch()


def _saves(value: Any, file: Any, *args: Any, **kwargs: Any) -> bool:
    return not isinstance(file, io.BytesIO)


def _always(*args: Any, **kwargs: Any) -> bool:
    return True


def _writes(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> bool:
    return any(letter in mode for letter in "wax+") and not _is_by_torch()


def _shown(*args: Any, file: Any = None, **kwargs: Any) -> bool:
    return file in (None, sys.stdout, sys.stderr)


def _told(logger: logging.Logger, record: logging.LogRecord) -> bool:
    return logger.name.partition(".")[0] not in UPSTREAM
