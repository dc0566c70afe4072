"""How a run computes: what run.json says of it, and warnings where that is not as before or as asked."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from shoal.engines.job import Job
from shoal.errors import warn
from shoal.instructions import differing, in_use
from shoal.rundir import RunInfo


def computing(job: Job) -> dict[str, Any]:
    """The fields of run.json for a job that is trained by this process."""
    return {"numerics": job.numerics, "instructions": in_use()}


def tell_of_others(info: RunInfo) -> None:
    """Say so where the run in `info`, which goes on here, computed by other instructions up to now."""
    if text := others(info):
        warn(text)


def tell_of_precision(job: Job, trainer: pl.Trainer) -> None:
    """Say so where a Trainer computes in another precision than it was asked for; Lightning says nothing of it here."""
    asked = str(job.trainer.get("precision"))
    # By what the Trainer has come to: which devices lack float16 is Lightning's to know.
    if asked in ("16-mixed", "16") and trainer.precision == "bf16-mixed":
        warn(f"trainer.precision={asked} is bf16-mixed here: a CPU has no float16 to mix")


def others(info: RunInfo) -> str | None:
    """A sentence on the instructions by which the run computed before, where this process has others; else None."""
    changes = differing(info.instructions, in_use(), info.numerics)
    if not changes:
        return None
    return f"it goes on by other instructions, {', '.join(changes)}: its bits are not those of an uninterrupted run"
