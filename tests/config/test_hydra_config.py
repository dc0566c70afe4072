"""What `${hydra:...}` reads."""

from __future__ import annotations

import json

import pytest
from hydra.core.hydra_config import HydraConfig

import shoal
from shoal.config.compose import composed
from shoal.config.hydra_config import read_from, unread
from shoal.errors import ConfigError


def test_what_hydra_reads_can_be_put_away_and_is_read_again_afterwards() -> None:
    with composed(["task=parabola"]) as found, read_from(found.config):
        with unread():
            within = HydraConfig.initialized()
        afterwards = HydraConfig.initialized()

    assert (within, afterwards) == (False, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["optimizer.lr=${nowhere}"], "optimizer.lr=${nowhere} (job 0, shoal.sweep): there is no nowhere to refer to"),
        (["optimizer.lr=1e-3,${seed:x}"], "optimizer.lr=${seed:x} (job 1, shoal.sweep): Unsupported interpolation"),
        (["seed=1,2", "task.seed=${oc.env:NO_SUCH}"], "task.seed=${oc.env:NO_SUCH} (job 0, shoal.sweep): Environment"),
    ],
)
def test_a_reference_that_leads_nowhere_is_told_by_a_sweep_as_by_a_run(words: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        shoal.sweep(["task=parabola", *words])

    assert str(error.value).removeprefix("error: ").startswith(told)


def test_a_sweep_keeps_its_overrides_as_they_were_typed() -> None:
    words = ["task=parabola", "seed=1,2", "trainer.max_epochs=${seed}", "task.n_samples=200", "model.hidden=[4]"]

    found = shoal.sweep([*words, "sweep.processes=0"])

    assert json.loads((found.path / "sweep.json").read_text())["command"][2:-1] == words
