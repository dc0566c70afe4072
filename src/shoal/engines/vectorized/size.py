"""How many runs to train as one stack: as many as the processor's cache and the memory are good for.

Measured, CPU time of a run's epoch over stacks of 16 to 256 runs of nine kinds of small models on a core with 1 MiB of
second-level cache: it falls until the stack's numbers fill the cache eightfold, by a fifth from the double of it, and
stays there. Below 64 runs the cost of calling kernels shows even where each of them alone fills the cache.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from shoal.step.captured import CapturedStep
from shoal.step.clock import Clock
from shoal.step.outward import forgetting

FEWEST, MOST = 64, 1024
"""Runs of a stack, whatever the cache."""
CACHES = 8
"""How often a stack's numbers may fill the cache."""
COPIES = 4
"""Parameters, their gradients and two moments: what a step reads or writes for every parameter."""
KEPT = 3
"""The stack, the best states and the last states of its runs."""
SHARE = 0.25
"""Part of the memory that is available that a stack may take."""


@dataclass(frozen=True)
class Footprint:
    """What one more run costs a stack, in bytes."""

    touched: int
    """What a step reads or writes of it."""
    held: int
    """What is kept of it in memory."""

    @classmethod
    def of(cls, step: CapturedStep, batch: Any, *, samples: int = 0) -> Footprint:
        """The footprint of a run with this training step and first batch; its own samples are `samples` bytes."""
        parameters = sum(each.numel() * each.element_size() for each in step.module.parameters())
        activations = _saved(step, batch)
        return cls(COPIES * parameters + activations, KEPT * COPIES * parameters + 2 * activations + samples)

    def most(self, *, processes: int = 1) -> int:
        """How many such runs to stack at most on this machine, where so many processes train a stack each."""
        return self.most_within(cache=_cache(), memory=_available() // processes)

    def most_within(self, *, cache: int, memory: int) -> int:
        """How many such runs to stack at most: a power of two."""
        by_cache = CACHES * cache // max(self.touched, 1)
        by_memory = int(SHARE * memory) // max(self.held, 1)
        wanted = min(max(by_cache, FEWEST), MOST, by_memory)
        return 1 << (max(wanted, 1).bit_length() - 1)


def _saved(step: CapturedStep, batch: Any) -> int:
    """Bytes that a training step keeps for its backward pass, beside the parameters."""
    try:
        return _kept(step, batch)
    except RuntimeError as error:
        # torch.func's derivatives within a step refuse such hooks, as they would not be told of all.
        if "saved tensor hooks" not in str(error):
            raise
    return _made(step, batch)


def _kept(step: CapturedStep, batch: Any) -> int:
    """Bytes that autograd is given to keep."""
    known = {each.data_ptr() for each in step.module.parameters()}
    found: dict[int, int] = {}

    def noted(value: Tensor) -> Tensor:
        # By its place: several operations may keep one tensor, which lies in memory once.
        if value.data_ptr() not in known:
            found[value.data_ptr()] = value.numel() * value.element_size()
        return value

    with torch.autograd.graph.saved_tensors_hooks(noted, lambda value: value):
        # The result holds what was saved: freed memory would be used again, and counted once for two tensors.
        result = _taken(step, batch)
    del result
    return sum(found.values())


class _Results(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps what operations give, by its place in memory."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held: dict[int, Tensor] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        self.held |= {each.data_ptr(): each for each in tree_leaves(found) if isinstance(each, Tensor)}
        return found


def _made(step: CapturedStep, batch: Any) -> int:
    """Bytes of all that a step makes, of which it keeps a part for its backward pass."""
    known = {each.data_ptr() for each in step.module.parameters()}
    with _Results() as made:
        _taken(step, batch)
    return sum(each.nbytes for place, each in made.held.items() if place not in known)


def _taken(step: CapturedStep, batch: Any) -> Any:
    """The result of a step with the module's own weights."""
    params = {name: param for name, param in step.module.named_parameters() if param.requires_grad}
    step.hears = True  # it is the first step that is taken of a module at all
    with torch.enable_grad(), forgetting():
        return step(params, step.held(), step.given(batch), Clock())


def _cache() -> int:
    """Bytes of a core's second-level cache; 2 MiB where the system does not say."""
    try:
        # index0 and index1 are the first level, for data and for instructions.
        return int(Path("/sys/devices/system/cpu/cpu0/cache/index2/size").read_text().strip().removesuffix("K")) * 1024
    except (OSError, ValueError):
        return 2 << 20


def _available() -> int:
    """Bytes of memory that are available; all of it where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
