"""The processes that a training begins: where one of them ends before its time, the training has failed.

Lightning would kill this one then, whatever it is doing: nothing would be recorded, and nothing said.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.distributed import _set_num_threads_if_needed
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher

from shoal.errors import ShoalError

_SECONDS = 0.5
"""How often the processes are looked after."""
_PATIENCE = 10.0
"""Seconds for this process to find out by itself: one that waits for another for good does not."""


class BegunProcesses:
    """Those that train together with this one, which has begun them."""

    def __init__(self, record: Callable[[ShoalError], None]) -> None:
        """`record` is told of a loss that this process would not come out of by itself."""
        self._record = record
        self._found: Sequence[subprocess.Popen[bytes]] = ()
        self._over = threading.Event()

    @contextmanager
    def watched(self, trainer: pl.Trainer) -> Iterator[None]:
        """Look after the processes that the Trainer begins within."""
        launcher: Any = trainer.strategy.launcher
        if isinstance(launcher, _SubprocessScriptLauncher):
            launcher.launch = self._launching(launcher)  # type: ignore[method-assign]
        try:
            yield
        finally:
            self._over.set()

    def cause(self, error: BaseException) -> BaseException:
        """What ended the training: a connection that breaks says nothing of the process at its other end."""
        lost = self._lost(_PATIENCE) if _of_a_connection(error) else None
        return lost or error

    def _launching(self, launcher: _SubprocessScriptLauncher) -> Callable[..., Any]:
        # Lightning's own, but for its observer, which kills this process as soon as another one has failed.
        def launch(function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
            environment = launcher.cluster_environment
            environment.validate_settings(num_devices=launcher.num_processes, num_nodes=launcher.num_nodes)
            if not environment.creates_processes_externally:
                launcher._call_children_scripts()
                self._found = launcher.procs
                threading.Thread(target=self._watch, daemon=True).start()
            _set_num_threads_if_needed(num_processes=launcher.num_processes)
            return function(*args, **kwargs)

        return launch

    def _watch(self) -> None:
        while not self._over.wait(_SECONDS):
            lost = self._lost()
            if lost and not self._over.wait(_PATIENCE):
                self._record(lost)
                print(lost.text(), file=sys.stderr, flush=True)
                for process in self._found:
                    process.kill()
                # sys.exit would end this thread alone, while the main one waits for good.
                os._exit(lost.exit_code)

    def _lost(self, seconds: float = 0.0) -> ShoalError | None:
        """The first process that has failed; there are `seconds` for one to end."""
        for rank, process in enumerate(self._found, start=2):  # the first process is this one
            try:
                code = process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                continue
            if code:
                how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                return ShoalError(f"process {rank} of {len(self._found) + 1} {how}, and this one cannot go on alone")
        return None


def _of_a_connection(error: BaseException) -> bool:
    # Much of what gloo raises is a plain RuntimeError, known by its words alone.
    return isinstance(error, torch.distributed.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))
