"""Steps of optimizers that ask for the loss again and again: all runs wait for each other, and are told together."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Losses = Callable[[list[int]], Tensor]
"""The losses for the parameters as they are, whose gradients it puts in their places; it is told which rows ask."""


def asks(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a step of it needs a function that gives the loss."""
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


def stepped(steps: Mapping[int, Callable[[Any], Any]], first: Tensor, losses: Losses) -> None:
    """Take a step of each row; the `first` losses and their gradients are there.

    Raises:
        Exception: whatever a step raises.
    """
    waiting = {row: _Step(step) for row, step in steps.items()}
    known = first
    while waiting:
        waiting = {row: step for row, step in waiting.items() if step.goes_on(known[row])}
        if waiting:
            known = losses(list(waiting))


class _Step:
    """A step in a thread of its own, which runs while nothing else does."""

    def __init__(self, step: Callable[[Any], Any]) -> None:
        self._step = step
        self._answer: Tensor | None = None
        self._asked = False
        self._error: BaseException | None = None
        self._threads = torch.get_num_threads()
        self._own, self._others = threading.Semaphore(0), threading.Semaphore(0)
        # A closure is called deep within a step, which nothing but a thread can halt there. It is a daemon, so that a
        # step that is never told its loss, since another one failed, does not keep the process from ending.
        threading.Thread(target=self._run, daemon=True).start()
        self._others.acquire()

    def goes_on(self, loss: Tensor) -> bool:
        """Tell it the loss that it has asked for; whether it asks for another one."""
        if not self._asked:
            return self._ended()
        self._answer, self._asked = loss, False
        self._own.release()
        self._others.acquire()
        return self._asked or self._ended()

    def _ended(self) -> bool:
        if self._error is not None:
            raise self._error
        return False

    def _ask(self) -> Tensor:
        self._asked = True
        self._others.release()
        self._own.acquire()
        assert self._answer is not None
        return self._answer

    def _run(self) -> None:
        torch.set_num_threads(self._threads)  # which every thread has for itself
        try:
            self._step(self._ask)
        # Raised here it would end this thread alone, and the stack would wait for ever.
        except BaseException as error:
            self._error = error
        self._others.release()
