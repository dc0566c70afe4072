"""What `${hydra:...}` reads."""

from __future__ import annotations

from hydra.core.hydra_config import HydraConfig

from shoal.config.compose import composed
from shoal.config.hydra_config import read_from, unread


def test_what_hydra_reads_can_be_put_away_and_is_read_again_afterwards() -> None:
    with composed(["task=parabola"]) as found, read_from(found.config):
        with unread():
            within = HydraConfig.initialized()
        afterwards = HydraConfig.initialized()

    assert (within, afterwards) == (False, True)
