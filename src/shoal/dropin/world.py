"""What a process has once and each job believes to have for itself: it is put away while another job runs.

Hydra's configuration, logging, the environment, the working directory, random generators and the settings of torch, of
warnings and of the console. What torch keeps for each thread (whether gradients are computed) is a job's own already.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch
from hydra.core.hydra_config import HydraConfig


@dataclass
class World:
    """The state that `taken` found, to be entered again."""

    hydra: Any
    environment: dict[str, str]
    folder: str
    randomness: tuple[Any, ...]
    torch: tuple[Any, ...]
    warnings: tuple[Any, ...]
    streams: tuple[Any, Any]
    logging: _Logging
    console: Any

    @classmethod
    def taken(cls) -> World:
        """The state of this process as it is."""
        return cls(
            # Whose configuration `${hydra:...}` and `HydraConfig.get()` read.
            HydraConfig.instance().cfg,
            dict(os.environ),
            os.getcwd(),
            _randomness(),
            _torch(),
            (warnings.filters[:], warnings.showwarning),
            (sys.stdout, sys.stderr),
            _Logging(),
            _console(),
        )

    def enter(self) -> None:
        """Have this process be in the state."""
        HydraConfig.instance().cfg = self.hydra
        _enter_environment(self.environment)
        if os.getcwd() != self.folder:
            os.chdir(self.folder)
        _enter_randomness(self.randomness)
        _enter_torch(self.torch)
        filters, warnings.showwarning = self.warnings
        if warnings.filters[:] != filters:
            # The list itself, which the C part of `warnings` holds; and it remembers what the filters decided.
            warnings.filters[:] = filters  # type: ignore[index]
            warnings._filters_mutated()  # type: ignore[attr-defined]
        sys.stdout, sys.stderr = self.streams
        self.logging.enter()
        _enter_console(self.console)


def _enter_environment(environment: dict[str, str]) -> None:
    now = dict(os.environ)
    for name in now.keys() - environment.keys():
        del os.environ[name]
    # Only what differs: each assignment is a call of the C library as well.
    os.environ.update({name: value for name, value in environment.items() if now.get(name) != value})


def _randomness() -> tuple[Any, ...]:
    # Not where CUDA is only available: to ask for its states would begin it.
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    return random.getstate(), numpy.random.get_state(), torch.get_rng_state(), cuda


def _enter_randomness(state: tuple[Any, ...]) -> None:
    random.setstate(state[0])
    numpy.random.set_state(state[1])
    torch.set_rng_state(state[2])
    if state[3] is not None:
        torch.cuda.set_rng_state_all(state[3])


def _torch() -> tuple[Any, ...]:
    cudnn = torch.backends.cudnn
    return (
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.get_float32_matmul_precision(),
        cudnn.deterministic,
        cudnn.benchmark,
    )


def _enter_torch(state: tuple[Any, ...]) -> None:
    # Mostly so: a job seldom sets any of these.
    if state == _torch():
        return
    dtype, deterministic, warn_only, precision, cudnn_deterministic, benchmark = state
    torch.set_default_dtype(dtype)
    torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn_deterministic, benchmark


def _console() -> Any:
    """The console that rich gives everyone, which takes one live display at a time."""
    rich = sys.modules.get("rich")
    return getattr(rich, "_console", None)


def _enter_console(console: Any) -> None:
    rich = sys.modules.get("rich")
    if rich is not None:
        rich._console = console  # type: ignore[attr-defined]


@dataclass
class _Logging:
    """All loggers, and the lists of handlers that configuring logging anew clears and closes."""

    loggers: dict[str, tuple[Any, ...]] = field(default_factory=lambda: _configured())
    """Those that are otherwise than a new one: a few of hundreds."""
    disabled: int = field(default_factory=lambda: logging.root.manager.disable)
    handlers: dict[str, Any] = field(default_factory=lambda: dict(logging._handlers))  # type: ignore[attr-defined]
    listed: list[Any] = field(default_factory=lambda: logging._handlerList[:])  # type: ignore[attr-defined]

    def enter(self) -> None:
        """Let logging be as it was; a logger that has come since is as if new."""
        for name in self.loggers.keys() | _configured().keys():
            logger = logging.getLogger(name) if name else logging.root
            logger.level, handlers, logger.propagate, logger.disabled = self.loggers.get(name, _NEW)
            logger.handlers[:] = handlers
        manager: Any = logging.root.manager
        manager.disable = self.disabled
        # Every logger remembers for which levels it is enabled.
        manager._clear_cache()
        known: Any = logging._handlers  # type: ignore[attr-defined]
        known.clear()
        known.update(self.handlers)
        logging._handlerList[:] = self.listed  # type: ignore[attr-defined]


_NEW: tuple[Any, ...] = (logging.NOTSET, [], True, False)


def _configured() -> dict[str, tuple[Any, ...]]:
    every = [("", logging.root), *logging.root.manager.loggerDict.items()]
    # By exclusion: a logger may be of any class, and what only holds the place of one has no level.
    found = {name: _of(each) for name, each in every if not isinstance(each, logging.PlaceHolder)}
    return {name: state for name, state in found.items() if state != _NEW}


def _of(logger: logging.Logger) -> tuple[Any, ...]:
    return logger.level, logger.handlers[:], logger.propagate, logger.disabled
