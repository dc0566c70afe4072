"""Runs as hypothesis draws them, and whether each has the same bits whichever runs it trains together with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from layers import Network, networks
from shoal.engines.job import Job
from shoal.engines.vectorized import driver
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.probing.rehearsal import rehearse
from shoal.engines.vectorized.run_epoch import RunEpoch
from shoal.engines.vectorized.running import Running
from shoal.losses import CrossEntropy, Huber, LossFunction, MeanAbsoluteError, MeanSquaredError
from shoal.names import VAL_LOSS
from shoal.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from shoal.schedulers import Constant
from shoal.seeding import Stream, generator
from shoal.step.exact.guard import InexactError
from shoal.tasks import Data, Split, Task

FEWER = (7, 3, 2, 1)
"""How many of the runs train again, in another order."""
N_VALIDATION = 5


@dataclass(frozen=True, kw_only=True)
class Cloud(Task):
    """Points by chance: what is learnt is of no interest, only its bits."""

    n_features: int
    n_outputs: int
    n_samples: int
    labels: bool = False
    """Whether the targets are classes."""

    @property
    def inputs(self) -> int:
        return self.n_features

    @property
    def outputs(self) -> int:
        return self.n_outputs

    def data(self) -> Data:
        drawn, n = generator(self.seed, Stream.DATA), self.n_samples + N_VALIDATION
        x = torch.randn(n, self.n_features, generator=drawn)
        y = torch.randn(n, self.n_outputs, generator=drawn)
        y = y.argmax(1) if self.labels else y
        names = [tuple(f"{name}{i}" for i in range(n)) for name, n in (("x", self.inputs), ("y", self.outputs))]
        return Data(Split(x[:-N_VALIDATION], y[:-N_VALIDATION]), Split(x[-N_VALIDATION:], y[-N_VALIDATION:]), *names)


OPTIMIZERS: Mapping[str, Callable[[int], Optimizer]] = {
    "sgd": lambda i: SGD(lr=0.01 * (1 + i % 3), momentum=0.9, nesterov=i % 2 == 0),
    "adam": lambda i: Adam(lr=1e-3 * (1 + i % 3)),
    "adamw": lambda i: AdamW(lr=1e-3, weight_decay=0.01 * (i % 3)),
    "rmsprop": lambda i: RMSprop(lr=1e-3, alpha=(0.99, 0.95)[i % 2]),
}
LOSSES: Mapping[str, LossFunction] = {
    "mse": MeanSquaredError(),
    "mae": MeanAbsoluteError(),
    "huber": Huber(),
    "cross entropy": CrossEntropy(),
}


@dataclass(frozen=True)
class Case:
    """Runs of one kind, one for every seed."""

    network: Network
    n_features: int
    n_outputs: int
    batch_size: int
    n_samples: int
    optimizer: str
    loss: str
    precision: str
    clip: float | None

    def job(self, seed: int) -> Job:
        """The run with this seed."""
        task = Cloud(
            seed=seed,
            n_features=self.n_features,
            n_outputs=self.n_outputs,
            n_samples=self.n_samples,
            labels=self.loss == "cross entropy",
            batch_size=self.batch_size,
        )
        trainer = {"max_epochs": 2, "precision": self.precision, "gradient_clip_val": self.clip}
        return Job(
            task=task,
            model=self.network,
            loss=LOSSES[self.loss],
            optimizer=OPTIMIZERS[self.optimizer](seed),
            scheduler=Constant(),
            trainer=trainer,
            callbacks={},
            loggers={},
            seed=seed,
            engine="vectorized",
            config={},
        )


@st.composite
def cases(draw: st.DrawFn, *, first: str | None = None, most: int = 3) -> Case:
    """Cases of networks with this first part, or any: batches of one, one column, a smaller last batch."""
    network = draw(networks(first=first, most=most))
    least = 2 if any(part.kind == "batch norm" for part in network.parts) else 1
    batch_size = draw(st.one_of(st.just(least), st.integers(least, 33)))
    rest = draw(st.integers(0, batch_size - 1))
    return Case(
        network=network,
        n_features=draw(st.one_of(st.just(1), st.integers(2, 17))),
        n_outputs=draw(st.one_of(st.just(1), st.integers(2, 7))),
        batch_size=batch_size,
        n_samples=2 * batch_size + (rest if rest >= least else 0),
        optimizer=draw(st.sampled_from(sorted(OPTIMIZERS))),
        loss=draw(st.sampled_from(sorted(LOSSES))),
        precision=draw(st.sampled_from(["32-true", "32-true", "64-true"])),
        clip=draw(st.sampled_from([None, None, 0.1])),
    )


class Told:
    """Remembers the metrics of every run and epoch."""

    def __init__(self) -> None:
        self.metrics: dict[int, list[Mapping[str, float]]] = {}

    def epoch_ended(self, epochs: Sequence[RunEpoch], running: Running) -> None:
        for each in epochs:
            self.metrics.setdefault(each.run, []).append(each.metrics)

    def is_asked_to_stop(self) -> bool:
        return False

    def stopped(self, running: Running) -> None:
        raise AssertionError("nobody asked it to stop")


def trained(case: Case, seeds: Sequence[int]) -> dict[int, Any]:
    """All that is left of each run of a stack, by its seed; as in a sweep each trains alone where it has to."""
    running, told = Running([Member.of(case.job(seed), monitor=VAL_LOSS) for seed in seeds]), Told()
    try:
        rehearse(running)
    except InexactError:
        return {seed: trained(case, [seed])[seed] for seed in seeds}
    driver.fit(running, told)
    return {
        seed: (running.checkpoint(place), running.best_checkpoint(place), told.metrics[place])
        for place, seed in enumerate(seeds)
    }


def unlike(one: Any, other: Any, place: str = "") -> list[str]:
    """Where two states differ in a bit; what is not a number may be any."""
    if isinstance(one, Tensor):
        same = one.dtype == other.dtype and bool((_bits(one) == _bits(other)).all())
        return [] if same else [place]
    if isinstance(one, Mapping):
        assert list(one) == list(other)
        return [each for key in one for each in unlike(one[key], other[key], f"{place}/{key}")]
    if isinstance(one, list | tuple):
        return [each for i, pair in enumerate(zip(one, other, strict=True)) for each in unlike(*pair, f"{place}/{i}")]
    same = one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other))
    return [] if same else [f"{place}: {one} and {other}"]


def _bits(value: Tensor) -> Tensor:
    integers = {torch.float32: torch.int32, torch.float64: torch.int64}.get(value.dtype)
    return value if integers is None else value.where(~value.isnan(), torch.nan).view(integers)


def dependent(case: Case, runs: int, order: Any, fewer: Sequence[int] = FEWER) -> list[str]:
    """In what the runs of a case differ: so many trained all together, and fewer of them in another order."""
    whole = trained(case, range(runs))
    found = []
    for n in fewer:
        chosen = order.sample(range(runs), n)
        for seed, state in trained(case, chosen).items():
            found += [f"{seed} among {chosen}: {each}" for each in unlike(whole[seed], state)]
    return found
