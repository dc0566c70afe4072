"""How long a sweep will take, from a measured step of each kind of block."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch

from shoal.engines.job import Job
from shoal.engines.vectorized.captured import CapturedStep
from shoal.engines.vectorized.mapped import Clock
from shoal.engines.vectorized.member import n_of
from shoal.optimizers import Own
from shoal.sweep.block import Block, Build

OVERHEAD_SECONDS = 0.02
"""Around the training of a run: directories, files, the Trainer."""


def seconds(blocks: Sequence[Block], build: Build, processes: int) -> float:
    """An estimate of the wall time: what a step of a run takes alone, times the steps, shared out to the processes."""
    total = 0.0
    known: dict[str, float] = {}
    for block in blocks:
        job = build(block.works[0].config)
        if not job.in_memory:
            continue  # what its data loaders take is not known before it trains
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
    optimizer = None if isinstance(job.optimizer, Own) else job.optimizer.alone(module.parameters())
    step = CapturedStep(module, "train")
    params, buffers = dict(module.named_parameters()), dict(module.named_buffers())
    times = []
    threads = torch.get_num_threads()
    torch.set_num_threads(job.threads)
    for _ in range(7):
        began = time.perf_counter()
        module.zero_grad()
        torch.autograd.backward(step(params, buffers, batch, Clock()).loss)
        if optimizer is not None:
            optimizer.step()
        times.append(time.perf_counter() - began)
    torch.set_num_threads(threads)
    return sorted(times)[len(times) // 2]
