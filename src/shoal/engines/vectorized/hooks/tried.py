"""Tries the hooks of callbacks without a trace: what is tried is called again where the training begins."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from shoal.engines.hook_names import CALLED, called
from shoal.engines.job import Job
from shoal.errors import first_line
from shoal.step.unfit import CannotStackError

_OF_MEMBERS = {"log", "log_dict"}
"""What a callback is given in a stack: no state of its own."""


@contextmanager
def callbacks_as_they_were(jobs: Iterable[Job], *, functions: bool = True) -> Iterator[None]:
    """Let the callbacks that a stack calls be after the block what they were before it.

    What functions given to a `LambdaCallback` do outside of it would be done twice: within the block they do nothing
    unless `functions` says so.

    Raises:
        CannotStackError: where one cannot be copied.
    """
    every = [(name, each) for job in jobs for name, each in called(job.callbacks).items()]
    kept = []
    for name, callback in every:
        try:
            # Without what it was given: a bound method would be copied with the whole run behind it.
            state = {key: value for key, value in vars(callback).items() if key not in _OF_MEMBERS}
            kept.append((callback, copy.deepcopy(state)))
        except Exception as error:  # whatever a user's object does that is copied
            kind = type(callback).__name__
            raise CannotStackError(
                f"callbacks.{name} ({kind}) cannot be copied for a try of its hooks ({first_line(error)})",
                "a file, a lock or a connection can be opened anew by a hook, and closed by it",
            ) from error
    if not functions:
        for callback, state in kept:
            vars(callback).update({key: _nothing for key in state if key in CALLED})
    try:
        yield
    finally:
        for callback, state in kept:
            # The object itself stays: the run's Trainer and other callbacks hold it.
            given = {key: value for key, value in vars(callback).items() if key in _OF_MEMBERS}
            vars(callback).clear()
            vars(callback).update(state | given)


def _nothing(*args: Any, **kwargs: Any) -> None:
    """In the place of a function."""
    del args, kwargs
