"""What a search with Optuna searches: an override's values are a space, and a point of it is a job."""

from __future__ import annotations

import optuna
import pytest

from searches import LR, space
from shoal.config.multirun.ranges import Choices, Interval, Range
from shoal.errors import ConfigError


def test_each_kind_of_override_is_a_space_of_its_kind() -> None:
    found = space(
        "optimizer=adam,sgd",
        "optimizer.lr=tag(log,interval(1e-4,1e-1))",
        "optimizer.weight_decay=interval(0,1)",
        "task.n_samples=interval(16,64)",
        "task.val_batch_size=tag(log,int(interval(1,64)))",
        "task.batch_size=range(8,33,8)",
        "optimizer.beta1=range(0.5,0.9,0.1)",
        "model.hidden=[4],[8,8]",
        "trainer.max_epochs=3",
        "+task.extra=range(3,0,-1)",
    )

    kinds = found.optuna()
    floats, ints = optuna.distributions.FloatDistribution, optuna.distributions.IntDistribution
    assert kinds == {
        "optimizer": optuna.distributions.CategoricalDistribution(["adam", "sgd"]),
        "optimizer.lr": floats(1e-4, 1e-1, log=True),
        "optimizer.weight_decay": floats(0, 1),
        "task.n_samples": ints(16, 64),
        "task.val_batch_size": ints(1, 64, log=True),
        "task.batch_size": ints(8, 32, step=8),
        "optimizer.beta1": floats(0.5, 0.9, step=0.1),
        "model.hidden": optuna.distributions.CategoricalDistribution(["[4]", "[8,8]"]),
        "task.extra": ints(1, 3),
    }
    assert (found.searched["optimizer.beta1"], found.searched["+task.extra"]) == (
        Range((0.5, 0.6, 0.7, 0.8, 0.9), 0.1),
        Range((1, 2, 3)),
    )
    assert found.searched["optimizer"] == Choices(("adam", "sgd"))
    assert found.searched["task.n_samples"] == Interval(16.0, 64.0, whole=True)
    assert found.repeats == [("trainer.max_epochs=3",)]


def test_the_jobs_of_a_point_are_written_as_hydras_grid_writes_them() -> None:
    found = space("optimizer.beta1=range(0.5,0.9,0.1)", "task.n_samples=interval(16,64)", LR, "seed=1,2", "+x=1")

    jobs = found.jobs({"optimizer.beta1": 0.5 + 0.1 * 2, "task.n_samples": 20, "optimizer.lr": 1 / 300})

    own = ["optimizer.beta1=0.7", "task.n_samples=20", f"optimizer.lr={1 / 300!r}"]
    assert jobs == [[*own, "seed=1", "+x=1"], [*own, "seed=2", "+x=1"]]
    assert ["optimizer.beta1=0.9", "task.n_samples=16", "optimizer.lr=0.0001", "seed=1", "+x=1"] in found.edges()


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("optimizer.lr=interval(2,1)", "needs a < b"),
        ("optimizer.lr=interval(0,1e400)", "needs a < b"),
        ("optimizer.lr=tag(log,interval(0,1))", "needs 0 < a < b"),
        ("task.n_samples=tag(log,range(0,9))", "no logarithm"),
        ("task.n_samples=range(5,5)", "gives no values"),
        ("task.n_samples=tag(log,range(1,9,2))", "in steps of 1"),
    ],
)
def test_what_cannot_be_searched_is_refused(override: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        space(override).optuna()
