"""What Hydra is told of a job that has ended."""

from __future__ import annotations

from hydra.core.utils import JobReturn, JobStatus

from shoal.errors import ShoalError
from shoal.judging import judged
from shoal.rundir import RunInfo, Status, missed


def objective(info: RunInfo) -> float | None:
    """What Hydra's sweepers compare jobs by: the best value of the monitored metric."""
    found = judged(info.best, info.final)
    return found.value if found else None


class JobFailedError(ShoalError):
    """A job of a sweep did not complete; the sweep went on."""


def tell(found: JobReturn, info: RunInfo) -> JobReturn:
    """Fill in the JobReturn of a job that has ended: status, and objective or error."""
    if missed(info.expected):
        found.status, found.return_value = JobStatus.FAILED, JobFailedError(f"{info.id}: not as expected")
    elif info.status is Status.COMPLETED:
        found.status, found.return_value = JobStatus.COMPLETED, objective(info)
    else:
        found.status, found.return_value = JobStatus.FAILED, JobFailedError(f"{info.id}: {info.reason}")
    return found
