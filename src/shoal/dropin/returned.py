"""What a job returned, as bytes: it has to get from the process that ran it to the one that asked for it."""

from __future__ import annotations

import pickle
import traceback
from typing import Any

from hydra.core.utils import JobReturn, JobStatus

from shoal.dropin.program import Job


class FailedError(Exception):
    """Stands for what a job failed of, where that cannot get here."""


class _RemoteError(Exception):
    """The traceback of an error, as its cause."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def packed(returned: JobReturn) -> tuple[bytes, str | None]:
    """The return of a job as bytes, and what of it gets lost."""
    failed = returned.status is JobStatus.FAILED
    text = _told(returned._return_value) if failed else ""
    try:
        if not failed:
            return pickle.dumps((returned, "")), None
        pickle.loads(pickle.dumps(returned._return_value))
        return pickle.dumps((returned, text)), None
    except Exception as error:  # whatever a value of anybody's does when it is pickled
        value = returned._return_value
        returned.return_value = FailedError(f"{type(value).__name__}: {value}") if failed else None
        lost = (
            None if failed else f"what it returns cannot be sent ({type(error).__name__}: {error}); None stands for it"
        )
        return pickle.dumps((returned, text)), lost


def unpacked(data: bytes) -> JobReturn:
    """The return that was packed; an error has the traceback that it had as its cause."""
    returned: JobReturn
    returned, text = pickle.loads(data)
    if text:
        returned._return_value.__cause__ = _RemoteError(text)
    return returned


def failed(job: Job, error: BaseException) -> JobReturn:
    """The return of a job that ended otherwise than by its function's end."""
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return JobReturn(overrides=list(job.overrides), status=JobStatus.COMPLETED)
    if not isinstance(error, Exception):
        error = FailedError(f"{type(error).__name__}: {error}").with_traceback(error.__traceback__)
    return JobReturn(overrides=list(job.overrides), status=JobStatus.FAILED, _return_value=error)


def _told(error: Any) -> str:
    return "".join(traceback.format_exception(error)) if error.__traceback__ else ""
