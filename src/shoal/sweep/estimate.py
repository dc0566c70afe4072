"""How long a sweep will take, from a measured step of each kind of block."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch

from shoal.engines.job import Job
from shoal.engines.vectorized.member import n_of
from shoal.sweep.block import Block, Build

OVERHEAD_SECONDS = 0.02
"""Around the training of a run: directories, files, the Trainer."""


def seconds(blocks: Sequence[Block], build: Build, processes: int) -> float:
    """An estimate of the wall time: what a step of a run takes alone, times the steps, shared out to the processes."""
    total = 0.0
    known: dict[str, float] = {}
    for block in blocks:
        job = build(block.works[0].config)
        key = str({**block.works[0].config, "seed": 0, "optimizer": 0, "task": 0})
        if key not in known:
            known[key] = _step_seconds(job)
        share = 0.15 if block.stacked and len(block.works) > 1 else 1.0  # of a run alone; measured for small models
        total += len(block.works) * (OVERHEAD_SECONDS + share * known[key] * _steps(job))
    return total / min(processes, max(len(blocks), 1))


def _steps(job: Job) -> int:
    n_batches = n_of(job.trainer.get("limit_train_batches"), len(job.batches()[0]))
    n_epochs, n_steps = job.trainer.get("max_epochs") or -1, job.trainer.get("max_steps") or -1
    bounds = [n for n in (n_epochs * n_batches, n_steps) if n > 0]
    return min(bounds) if bounds else math.ceil(n_batches)


def _step_seconds(job: Job) -> float:
    """The median time of a few training steps of a run by itself."""
    module = job.module()
    train, _ = job.batches()
    batch = train.samples.x[: train.batch_size], train.samples.y[: train.batch_size]
    optimizer = job.optimizer.alone(module.parameters())
    times = []
    for _ in range(7):
        began = time.perf_counter()
        optimizer.zero_grad()
        loss = job.loss(module(batch[0]), batch[1])
        torch.autograd.backward(loss)
        optimizer.step()
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2]
