"""How long a sweep will take, from a measured step of each kind of block."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.utils import _pytree as pytree

from shoal.build.job import job as build
from shoal.engines.job import Job
from shoal.engines.length import n_of
from shoal.engines.step.captured import CapturedStep
from shoal.engines.step.clock import Clock
from shoal.engines.vectorized.hooked import begun
from shoal.engines.vectorized.member import Member
from shoal.optimizers import Own
from shoal.sweeps.block import Block
from shoal.sweeps.costs import BY_LIGHTNING, DISPATCH
from shoal.sweeps.sweep_progress import clock

START_SECONDS = 2.0
"""Before the first step and after the last: the processes, the trace of the step, the figures."""
OVERHEAD_SECONDS = 0.02
"""Around the training of a run: directories, files, the Trainer."""
LARGER = 8
"""How much larger a batch is made to see what the arithmetic of one costs."""


@dataclass(frozen=True)
class _Step:
    """Seconds of a training step of a run by itself."""

    whole: float
    arithmetic: float
    """What it takes longer where the batch is larger by as much as it is long."""

    def of(self, block: Block) -> float:
        """The share of one run of the block in a step of the block."""
        return self.arithmetic + DISPATCH * self.whole if block.stacked else BY_LIGHTNING * self.whole


def time_in_words(blocks: Sequence[Block], processes: int) -> str:
    """An estimate of the wall time for the terminal, and what it leaves out."""
    found, unknown = seconds(blocks, processes)
    if not found:
        return "how long it takes is not known before it trains: its data loaders decide"
    left_out = f", without {unknown} that wait for data loaders" if unknown else ""
    return f"about {clock(found)} with {processes} {'process' if processes == 1 else 'processes'}{left_out}"


def seconds(blocks: Sequence[Block], processes: int) -> tuple[float, int]:
    """An estimate of the wall time from measured steps; and how many runs it leaves out."""
    total, unknown = 0.0, 0
    known: dict[str, _Step] = {}
    for block in blocks:
        job = build(block.assignments[0].config)
        if not job.in_memory:
            unknown += len(block.assignments)
            continue
        key = str({**block.assignments[0].config, "seed": 0, "optimizer": 0} if block.group is None else block.group)
        if key not in known:
            known[key] = _measured(job)
        total += len(block.assignments) * (OVERHEAD_SECONDS + known[key].of(block) * _steps(job))
    return (START_SECONDS + total / min(processes, len(blocks)), unknown) if total else (0.0, unknown)


def _steps(job: Job) -> int:
    n_batches = n_of(job.trainer.get("limit_train_batches"), len(job.sources()[0]))
    n_epochs, n_steps = job.trainer.get("max_epochs") or -1, job.trainer.get("max_steps") or -1
    bounds = [n for n in (n_epochs * n_batches, n_steps) if n > 0]
    return min(bounds) if bounds else math.ceil(n_batches)


def _measured(job: Job) -> _Step:
    """The median time of a few training steps of a run by itself."""
    member = Member.of(job)
    begun(member)
    module = member.module
    train, _ = job.sources()
    optimizer = None if isinstance(job.optimizer, Own) else job.optimizer.alone(module.parameters())
    step = CapturedStep(module, "train")
    params, buffers = dict(module.named_parameters()), dict(module.named_buffers())

    def gradient(times: int) -> None:
        module.zero_grad()
        batch = pytree.tree_map(lambda each: torch.cat([each] * times), train.first())
        torch.autograd.backward(step(params, buffers, batch, Clock()).loss)

    threads = torch.get_num_threads()
    torch.set_num_threads(job.threads)
    one, more = _median(lambda: gradient(1)), _median(lambda: gradient(LARGER))
    update = _median(optimizer.step) if optimizer is not None else 0.0
    torch.set_num_threads(threads)
    return _Step(one + update, max(more - one, 0.0) / (LARGER - 1))


def _median(do: Callable[[], object]) -> float:
    times = []
    for _ in range(7):
        began = time.perf_counter()
        do()
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2]
