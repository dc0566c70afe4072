"""By which instructions a run computes: what run.json says of it, and what is told where a run goes on by others."""

from __future__ import annotations

import logging
import sys
from typing import Any

from shoal.engines.job import Job
from shoal.instructions import differing, in_use
from shoal.rundir import RunInfo

log = logging.getLogger("shoal")


def computing(job: Job) -> dict[str, Any]:
    """The fields of run.json for a job that is trained by this process."""
    return {"numerics": job.numerics, "instructions": in_use()}


def tell_of_others(info: RunInfo) -> None:
    """Say so where the run in `info`, which goes on here, computed by other instructions up to now."""
    text = others(info)
    if text:
        log.warning("%s", text)
        print(f"warning: {text}", file=sys.stderr)


def others(info: RunInfo) -> str | None:
    """By which other instructions than this process the run in `info` computed, in a sentence; None where by none."""
    changes = differing(info.instructions, in_use(), info.numerics)
    if not changes:
        return None
    return f"it goes on by other instructions, {', '.join(changes)}: its bits are not those of an uninterrupted run"
