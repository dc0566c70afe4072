"""A block in a task of Ray: what happens to it goes as letters into a queue, each with the number of the task."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from tempfile import TemporaryDirectory
from typing import Any

from shoal.rundir.lease import holding, watch
from shoal.sweeps.block import RunEnded
from shoal.sweeps.serving import Finished, Hello, at_hand, told


def train_given(number: int, folder: str | None, given: bytes, letters: Any) -> None:
    """Train a block, and post what happens; a cancelled task has its training save and stop."""

    def send(event: Any) -> None:
        # As bytes: the process that has the queue need not find shoal.
        letters.put(pickle.dumps((number, event)))

    send(Hello.here())
    _watching()
    held: list[RunEnded] = []
    with _in(folder), at_hand(pickle.loads(given), send) as (block, bring), holding(block.lease):
        from shoal.sweeps.block_training import train_block

        train_block(block, partial(told, send, held, bring), _known())
        bring(*(each.number for each in held), state=True)
    # After their files: the launcher goes by the run.json that it has.
    for each in held:
        send(each)
    send(Finished())


@contextmanager
def _in(folder: str | None) -> Iterator[None]:
    """Work in this folder, or in one that is made for it."""
    before = os.getcwd()
    with TemporaryDirectory(prefix="shoal-") as own:
        os.chdir(folder or own)
        try:
            yield
        finally:
            os.chdir(before)


@cache
def _known() -> dict[str, Any]:
    """The steps of the group that this process trained last: a process of Ray's does one task after the other."""
    return {}


@cache
def _watching() -> None:
    """Have a thread of this process look after its lease."""
    threading.Thread(target=watch, daemon=True).start()
