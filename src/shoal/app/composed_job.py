"""A job from overrides, to look at and not to train."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.build.importing import importing
from shoal.config.compose import composed
from shoal.config.origins import located
from shoal.config.quoting import quoted
from shoal.engines.job import Job
from shoal.rundir.log import quiet_logging


def composed_job(overrides: Sequence[str]) -> Job:
    """The job that the overrides ask for; nothing is written.

    Raises:
        ShoalError: where the configuration is wrong.
    """
    with quiet_logging(), composed(quoted(overrides)) as found:
        # Neither is about the job itself, and an expected metric may not be known before a training.
        values = {**found.values(), "check": None, "expect": None}
        with located(found.origins), importing():
            from shoal.build.checked_job import job

            return job(values)
