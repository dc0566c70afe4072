"""In float32 the engines' roundings drift apart; what is left to claim is that the results are distributed alike."""

from __future__ import annotations

import pytest
from scipy.stats import ks_2samp  # type: ignore[import-untyped]

from driven import SETTINGS, Kept
from shoal.engines import lightning
from shoal.engines.job import Job
from shoal.engines.vectorized import driver
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.running import Running
from shoal.losses import MeanSquaredError
from shoal.models import MLP
from shoal.names import VAL_LOSS
from shoal.optimizers import Adam
from shoal.schedulers import Constant
from shoal.tasks import Parabola

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*does not have many workers.*")


def job(seed: int, lr: float = 1e-2) -> Job:
    return Job(
        task=Parabola(seed=seed, n_samples=80, batch_size=16),
        model=MLP(hidden=(8, 8)),
        loss=MeanSquaredError(),
        optimizer=Adam(lr=lr),
        scheduler=Constant(),
        trainer={**SETTINGS, "max_epochs": 10, "precision": "32-true"},
        callbacks={},
        loggers={},
        seed=seed,
        engine="vectorized",
        config={},
    )


def stacked(lr: float = 1e-2) -> list[float]:
    """The final validation losses of seeds 0 to 39 under the vectorised engine."""
    kept = Kept()
    driver.fit(Running([Member.of(job(seed, lr)) for seed in range(40)]), kept)
    return [kept.curve(run, VAL_LOSS)[-1] for run in range(40)]


def alone() -> list[float]:
    """The final validation losses of seeds 40 to 79 under the Lightning engine."""
    trainers = [lightning.fit(job(seed), job(seed).module()) for seed in range(40, 80)]
    return [float(trainer.callback_metrics[VAL_LOSS]) for trainer in trainers]


def test_final_losses_of_both_engines_are_distributed_alike_over_seeds() -> None:
    """By the two-sample Kolmogorov-Smirnov test at the level of 0.05, which tells runs with another rate apart."""
    expected = alone()

    found, others = stacked(), stacked(lr=5e-3)

    assert ks_2samp(found, expected).pvalue > 0.05
    assert ks_2samp(others, expected).pvalue < 0.05
