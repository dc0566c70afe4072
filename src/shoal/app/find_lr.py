"""A learning-rate range test: many rates at once, each for a few steps, as one stack."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from shoal.app.train import train
from shoal.config.origins import COMMAND_LINE
from shoal.errors import ConfigError, ShoalError
from shoal.names import TRAIN_LOSS
from shoal.override_words import key_and_value
from shoal.rundir import Status, SweepDir, read_info, read_sweep

KEY = "optimizer.lr"
NEAR = 1.5
"""How much higher than the lowest a loss may be that counts as well."""


@dataclass(frozen=True, kw_only=True)
class RatesTried:
    """What became of each rate, the lowest first."""

    path: Path
    """The sweep."""
    losses: dict[float, float | None]
    """The training loss after the last step; None where the run diverged."""

    @property
    def best(self) -> float:
        """The rate with the lowest loss.

        Raises:
            ShoalError: where all of them diverged.
        """
        finite = {rate: loss for rate, loss in self.losses.items() if loss is not None and math.isfinite(loss)}
        if not finite:
            raise ShoalError(f"every rate diverged: {self.path}", hint="try lower ones: --from 1e-9 --to 1e-6")
        return min(finite, key=lambda rate: finite[rate])

    @property
    def near(self) -> tuple[float, float]:
        """The lowest and the highest rate around the best that are nearly as good, without a gap."""
        limit = NEAR * (self.losses[self.best] or 0.0)
        rates = list(self.losses)
        low = high = rates.index(self.best)
        while low > 0 and self._within(rates[low - 1], limit):
            low -= 1
        while high < len(rates) - 1 and self._within(rates[high + 1], limit):
            high += 1
        return rates[low], rates[high]

    @property
    def diverged_from(self) -> float | None:
        """The lowest rate from which on every one diverged; None where the highest did not."""
        # From the highest down: a rate that diverges below one that does not is chance.
        found = None
        for rate, loss in reversed(self.losses.items()):
            if loss is not None:
                break
            found = rate
        return found

    def _within(self, rate: float, limit: float) -> bool:
        loss = self.losses[rate]
        return loss is not None and loss <= limit


def try_rates(
    overrides: Sequence[str],
    *,
    lowest: float,
    highest: float,
    n_rates: int,
    n_steps: int,
    told: Callable[[str], None] = lambda _: None,
) -> RatesTried:
    """Train `n_steps` with each of `n_rates` rates, as far apart from each other on a logarithmic scale.

    Raises:
        ConfigError: where the configuration is wrong, or has a rate; nothing was trained.
    """
    given = dict(map(key_and_value, overrides)).get(KEY)
    if given is not None:
        raise ConfigError(KEY, given, "is what is looked for", source=COMMAND_LINE)
    if not 0 < lowest < highest:
        raise ConfigError("--from", lowest, f"must be above 0 and below --to {highest}", source=COMMAND_LINE)
    step = math.log(highest / lowest) / max(n_rates - 1, 1)
    # Four digits: they can be typed again.
    rates = [float(f"{lowest * math.exp(step * place):.4g}") for place in range(n_rates)]
    words = [
        # Before the user's own overrides, which may want them; what follows them is what the test is.
        "scheduler=none",
        "callbacks=quiet",
        "logger=none",
        "tags=[find-lr]",
        *overrides,
        f"{KEY}={','.join(map(str, rates))}",
        f"trainer.max_steps={n_steps}",
        # Only the steps count: a small table has few of them in an epoch.
        "trainer.max_epochs=-1",
        # One stack, in this process: the rates are compared after the same steps of the same batches.
        "sweep.processes=0",
        f"sweep.block={n_rates}",
    ]
    ended = train(words, multirun=True, command=["train.py", "-m", *words], told=told)
    return _tried(SweepDir(ended.path))


def _tried(sweep: SweepDir) -> RatesTried:
    losses: dict[float, float | None] = {}
    for job in read_sweep(sweep.info).jobs:
        info = read_info(sweep.run(job).info)
        losses[float(job.differs[KEY])] = info.final.get(TRAIN_LOSS) if info.status is Status.COMPLETED else None
    return RatesTried(path=sweep.path, losses=dict(sorted(losses.items())))
