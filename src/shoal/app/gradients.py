"""A job from overrides, to look at and not to train."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.app.compose import composed
from shoal.app.formulas import quoted
from shoal.app.start import importing, located
from shoal.engines.job import Job
from shoal.rundir.log import quiet_logging


def composed_job(overrides: Sequence[str]) -> Job:
    """The job that the overrides ask for; nothing is written.

    Raises:
        ShoalError: where the configuration is wrong.
    """
    with quiet_logging(), composed(quoted(overrides)) as found:
        values = {**found.values(), "check": None, "expect": None}
        with located(found.sources), importing():
            from shoal.app.jobs import job

            return job(values)
