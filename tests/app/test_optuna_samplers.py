"""What a search with Optuna proposes, by each sampler."""

from __future__ import annotations

import optuna
import pytest

from searches import LR, Surface, points, session
from shoal.app.search.samplers import samplers
from shoal.errors import ConfigError


@pytest.mark.usefixtures("workdir")
def test_a_search_beats_its_random_start_and_its_seed_decides_its_trials() -> None:
    overrides, settings = [LR, "optimizer=adam,sgd"], {"n_trials": 40, "batch": 8}

    found = session(Surface(), *overrides, **settings).trials
    same = session(Surface(), *overrides, **settings).trials
    other = session(Surface(), *overrides, seed=1, **settings).trials

    values = [trial.value for trial in found if trial.value is not None]
    assert min(values[10:]) < 0.1 * min(values[:10])
    assert points(same) == points(found)
    assert points(other)[0] != points(found)[0]


@pytest.mark.usefixtures("workdir")
@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "nsga2", "qmc"])
def test_a_search_in_two_sessions_proposes_what_it_proposes_in_one(sampler: str) -> None:
    overrides, settings = [LR, "optimizer=adam,sgd"], {"batch": 6, "sampler": sampler}

    before = session(Surface(), *overrides, n_trials=12, **settings)
    twice = session(Surface(), *overrides, n_trials=14, study=before, **settings).trials
    once = session(Surface(), *overrides, n_trials=14, **settings).trials

    assert len(points(twice)) == 14
    assert points(twice) == points(once)
    assert len({str(trial.params) for trial in twice[:10]}) == 10


def test_an_own_sampler_has_its_settings_and_an_unknown_one_the_nearest_name() -> None:
    node = {"_target_": "optuna.samplers.TPESampler", "n_startup_trials": 3}

    found = samplers(node, seed=0, batch=4)(0)

    assert isinstance(found, optuna.samplers.TPESampler)
    assert found._n_startup_trials == 3
    with pytest.raises(ConfigError, match="did you mean tpe"):
        samplers("tpx", seed=0, batch=4)
    with pytest.raises(ConfigError, match="leave out hydra/sweeper=optuna"):
        samplers("grid", seed=0, batch=4)
    with pytest.raises(ConfigError, match="is not one of Optuna's samplers"):
        samplers({"_target_": "optuna.pruners.NopPruner"}, seed=0, batch=4)
