"""The settings of a sweep: one home for their defaults, and one form for each way to choose the jobs."""

from __future__ import annotations

from dataclasses import MISSING, fields

import pytest
import yaml

from commands import trained
from shoal.app.search.request import SearchSettings
from shoal.config.folders import own_conf
from shoal.config.multirun.grids import GridSettings
from shoal.config.multirun.sweep_settings import SweepSettings
from shoal.engines.stack.halving import Halving

FORMS = (SweepSettings, GridSettings, SearchSettings)
NODE = yaml.safe_load((own_conf() / "train.yaml").read_text(encoding="utf-8"))["sweep"]
SWEEPER = yaml.safe_load((own_conf() / "hydra/sweeper/shoal.yaml").read_text(encoding="utf-8"))


def test_only_conf_has_the_defaults_of_a_sweeps_settings() -> None:
    known = {field.name for form in FORMS for field in fields(form)}
    with_default = [
        field.name
        for form in FORMS
        for field in fields(form)
        if field.default is not MISSING and field.name != "halving"
    ]

    assert known == set(NODE)
    assert with_default == []
    assert NODE["halving"] == {
        field.name: None if field.default is MISSING else field.default for field in fields(Halving)
    }


def test_the_sweeper_takes_what_the_node_says_and_has_no_defaults_of_its_own() -> None:
    taken = {name: SWEEPER[name] for name in SWEEPER if name not in ("_target_", "params", "max_batch_size")}

    assert taken == {field.name: f"${{oc.select:sweep.{field.name}}}" for field in fields(GridSettings)}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            "sweep.n_samples=0 optimizer.lr=1e-3,1e-2",
            "sweep.n_samples=0 (command line): must be an integer of at least 1",
        ),
        ("sweep.seed=null seed=0,1", "sweep.seed=null (command line): must be an integer"),
        ("sweep.max_jobs=many seed=0,1", "sweep.max_jobs=many (command line): must be an integer of at least 1"),
        ("sweep.every=seed seed=0,1", "sweep.every=seed (command line): must be"),
        ("sweep.processes=-1 seed=0,1", "sweep.processes=-1 (command line): must be an integer of at least 0"),
        ("sweep.halving=true seed=0,1", "sweep.halving=true (command line): is a node of several settings"),
        ("sweep=true seed=0,1", "sweep=true (command line): is a node of several settings"),
        ("sweep.batch=0 sweep.n_trials=2 seed=0,1 hydra/sweeper=optuna", "sweep.batch=0 (command line): must be"),
    ],
)
def test_a_setting_of_a_sweep_that_is_not_allowed_is_refused_at_once(words: str, told: str) -> None:
    found = trained("-m", *words.split())

    assert found.returncode == 2
    assert told in found.stderr
    assert len(found.stderr.splitlines()) <= 3
